"""Extract a better policy from mixed data and say how much better it is.

    python -m experiments.run method=awr task=stack policy=vla critic=wvm seed=3 method.temperature=5
    python -m experiments.run -m method=bc,awr seed=0,1       a sweep
    python -m experiments.run --cfg job                       all settings
    python -m experiments.run method=my_file:MyMethod         a part of your own
    python -m experiments.run begin=outputs/runs/first …      goes on from the policy of a run, whose policy= holds

Prints a summary, and writes a report under outputs/runs/<name>/. Finished stages are reused; a killed run is
continued by the same command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

from envs.engine import engine
from experiments.lab.artifacts import canonical
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import tracked
from experiments.pipeline import run_experiment
from experiments.reports.results import run_name, summarize
from experiments.reports.run_report import print_summary, write_report
from experiments.settings.chosen import Chosen
from experiments.settings.cli import answer, menu, prepare_sweep
from experiments.settings.cluster import RUNS
from experiments.settings.command import command
from experiments.settings.config import RunConfig
from experiments.settings.resolve import resolved
from experiments.stages.saved import with_choices


def run(chosen: Chosen) -> None:
    """One experiment and its report under outputs/runs/."""
    chosen = replace(chosen, config=resolved(chosen.config))
    config: RunConfig = chosen.config
    name, outputs = run_name(chosen), Path(config.outputs)
    with tracked(config.wandb, name, outputs, canonical(config)) as tracker, Simulators() as simulators:
        outcome = run_experiment(config, tracker, simulators)
        results = summarize(chosen, outcome)
        tracker.summary({name: results[name] for name in ("before", "after", "held_out") if results[name]})
    folder = outputs / "runs" / name
    write_report(folder, config, outcome, results)
    print_summary(folder, results)


def run_each(arguments: Sequence[str]) -> None:
    """One experiment, or with `-m` one for each combination of several values; on a cluster these side by side.

    Raises:
        UserError: a mistake in the arguments; none is run.
    """
    sweep = prepare_sweep("run", with_choices(arguments, "begin=", ("policy",)))
    elsewhere = engine().runs(len(sweep))
    if elsewhere is None:
        for chosen in sweep:
            run(chosen)
        return
    with elsewhere as jobs:
        for job in [jobs.submit(printed_by, run, chosen) for chosen in sweep]:
            print(job.result(), end="")


def printed_by(function: Callable[..., object], *arguments: object) -> str:
    """What a call prints."""
    with redirect_stdout(StringIO()) as printed:
        function(*arguments)
    return printed.getvalue()


@command
def main() -> None:
    """The command line."""
    answer(run_each, f"{__doc__}\nChoices:\n{menu()}", over=RUNS)


if __name__ == "__main__":
    main()
