"""Methods against each other: same data, labels, base policy and number of updates.

    python -m experiments.compare method=bc,filtered_bc,awr seed=0,1,2
    python -m experiments.compare method=bc,awr critic=wvm,oracle task=stack,bread evaluate.episodes=100
    python -m experiments.compare data=suboptimal method=bc,filtered_bc,awr ceiling=clean

Every setting may be a comma-separated list. With ceiling=clean as many clean demonstrations are cloned, too, and the table
says what share of the gap between cloning the two each method closes. Prints a table; the last line is JSON. Both, and a
picture, are also written to outputs/compare/<name>/.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from envs.engine import engine
from envs.errors import UserError, check_choice
from experiments.choices.ceiling import CEILING, CEILINGS, cloning_of_clean
from experiments.choices.no_env import NoEnv
from experiments.lab.artifacts import canonical, digest
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import tracked
from experiments.outcome import Outcome
from experiments.pipeline import run_experiment
from experiments.reports.comparison import BASELINE, Row, publish
from experiments.reports.results import run_name
from experiments.settings.chosen import Chosen, varied
from experiments.settings.cli import answer, menu, prepare
from experiments.settings.cluster import RUNS
from experiments.settings.command import command
from experiments.settings.config import RunConfig, require
from experiments.settings.resolve import resolved


def compare(chosen: Sequence[Chosen], arguments: Sequence[str]) -> None:
    """Run all configurations, those that differ in the seed alone as one row; print and write the table."""
    _check_alike([one.config for one in chosen])
    groups = by_seed(chosen)
    told = varied([replace(group[0], config=group[0].unseeded) for group in groups])
    rows = []
    with _outcomes([one for group in groups for one in group]) as answers:
        for group, differ in zip(groups, told, strict=True):
            outcomes = [next(answers) for _ in group]
            before = tuple(outcome.before for outcome in outcomes if outcome.before)
            seeds = tuple(one.config.seed for one in group)
            after = tuple(outcome.after for outcome in outcomes if outcome.after)
            rows.append(Row(group[0], differ, seeds, after, before))
    publish(rows, arguments)


@contextmanager
def _outcomes(chosen: Sequence[Chosen]) -> Iterator[Iterator[Outcome]]:
    """What comes of each, in order: one after another, or on a cluster side by side."""
    numbered = [(one, f"[{number}/{len(chosen)}]") for number, one in enumerate(chosen, start=1)]
    elsewhere = engine().runs(len(chosen))
    if elsewhere is None:
        with Simulators() as simulators:
            yield (_run(*one, simulators) for one in numbered)
        return
    with elsewhere as jobs:
        begun = [jobs.submit(_run_there, *one) for one in numbered]
        yield (job.result() for job in begun)


def _run_there(chosen: Chosen, position: str) -> Outcome:
    """In a worker."""
    with Simulators() as simulators:
        return _run(chosen, position, simulators)


def by_seed(chosen: Sequence[Chosen]) -> list[list[Chosen]]:
    """Those that differ in `seed=` alone together; what is asked for twice is there once."""
    groups: dict[str, dict[str, Chosen]] = {}
    for one in chosen:
        groups.setdefault(digest(one.unseeded), {})[digest(one.config)] = one
    return [list(group.values()) for group in groups.values()]


def _run(chosen: Chosen, position: str, simulators: Simulators) -> Outcome:
    """One experiment."""
    chosen = replace(chosen, config=resolved(chosen.config))
    config: RunConfig = chosen.config
    name = run_name(chosen)
    print(f"{position} {name}", file=sys.stderr)
    with tracked(config.wandb, name, Path(config.outputs), canonical(config)) as tracker:
        outcome = run_experiment(config, tracker, simulators)
        rate = outcome.after.rate() if outcome.after else None
        if rate is None:
            raise UserError(
                "this environment does not say whether its task is solved, which is what is compared; "
                "give `success` in its info"
            )
        tracker.summary({"success": rate.mean})
    return outcome


def _check_alike(configs: Sequence[RunConfig]) -> None:
    """Refuse a comparison that would not be fair, or of success where there is none to measure."""
    if any(isinstance(config.env, NoEnv) for config in configs):
        raise UserError(
            "methods are compared by success, which env=none does not measure; compare the held-out errors in the reports "
            "of several runs: python -m experiments.run -m method=bc,awr env=none …"
        )
    for setting in ("train.updates", "evaluate"):
        part, _, name = setting.partition(".")
        values = {digest(getattr(getattr(c, part), name) if name else getattr(c, part)) for c in configs}
        if len(values) > 1:
            raise UserError(f"{setting} must be the same for all that is compared")


def asked(arguments: Sequence[str]) -> list[Chosen]:
    """The configurations that the words stand for, the ceiling's among them.

    Raises:
        UserError: a mistake in the words.
    """
    words = [word for word in arguments if not word.startswith(CEILING)]
    chosen = list(prepare("run", words))
    for word in set(arguments) - set(words):
        check_choice("ceiling", word.removeprefix(CEILING), CEILINGS)
        require(
            any(one.names["method"] == BASELINE for one in chosen),
            f"{word} measures from cloning: put {BASELINE} among the methods",
        )
        chosen += [cloning_of_clean(one) for one in chosen]
    return chosen


@command
def main() -> None:
    """The command line."""
    text = f"{__doc__}\nChoices:\n{menu()}"
    answer(lambda arguments: compare(asked(arguments), arguments), text, over=RUNS)


if __name__ == "__main__":
    main()
