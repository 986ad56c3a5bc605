"""Does a critic tell the better of several actions from one state? What an advantage needs, and VOC does not tell.

    python -m experiments.branch_bench critic=wvm task=lift              the critic that ships
    python -m experiments.branch_bench critic=wvm,time_index task=stack  several, on the same branches
    python -m experiments.branch_bench critic=my_module:fn task=stack phases=[grasp,place] groups=120

From a moment of a scripted demonstration that a seed draws, several chunks of a policy's are executed in robosuite, each
again and again from the same state to the bit; the critic's gains (its value at the end less that at the start) are
correlated with the gains of true progress within each group, by the phase of the task and by the number of decisions. True
progress is that of undisturbed experts in the most similar states; the last rows say how well it agrees with itself when
other demonstrations tell it: the square root of that is what a critic could reach.

Prints a table; the last line is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from envs.errors import UserError
from envs.files import atomic_file
from experiments.lab.artifacts import Artifacts, canonical
from experiments.lab.context import Context
from experiments.lab.provenance import made_by
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.reports.rankings import TRUTH, rankings_table
from experiments.settings.chosen import Chosen, varied
from experiments.settings.cli import answer, prepare
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.stages.critic import examples, get_critic
from experiments.stages.ranking import BranchSettings, Rankings, policy_branches
from experiments.stages.rollouts import trained_policy

DEFAULTS = [{"task": "stack"}, {"critic": "wvm"}, {"policy": "vla_token"}]


@dataclass(frozen=True)
class BranchBenchConfig(BranchSettings):
    """Which critics, on which branches."""

    task: Any = MISSING
    critic: Any = MISSING
    policy: Any = MISSING  # whose chunks
    trained: str = ""  # a run's folder, or its policy's: who acts; empty: `policy=` before training
    outputs: str = "outputs"
    file: str = ""  # where the figures are written, as JSON; empty: outputs/branches/<task>.json


def bench_branches(arguments: Sequence[str]) -> None:
    """The command with its arguments.

    Raises:
        UserError: a mistake in them, or the configurations differ in more than the critic.
    """
    store_command("branch_bench", BranchBenchConfig, DEFAULTS)
    chosen = prepare("branch_bench", arguments)
    config: BranchBenchConfig = chosen[0].config
    if any(_beside_critic(one) != _beside_critic(chosen[0]) for one in chosen):
        raise UserError("only critic and its settings may have several values: all see the same branches")
    for one in chosen:
        one.config.critic.check(examples(config.task))
    found: dict[str, Any] = {}
    with Simulators() as simulators:
        context = Context(Artifacts(Path(config.outputs) / "artifacts"), Tracker(None), simulators)
        branches = policy_branches(
            context,
            config.task,
            config,
            config.policy,
            trained_policy(Path(config.trained)) if config.trained else None,
        )
        for one, name in zip(chosen, _names(chosen), strict=True):
            source = get_critic(context.artifacts, config.task, one.config.critic, context.tracker)
            found[name] = branches.real(source)
        truth = branches.truth()
    _publish(config, found, truth)


def _beside_critic(one: Chosen) -> dict[str, Any]:
    return {name: value for name, value in canonical(one.config).items() if name != "critic"}


def _names(chosen: Sequence[Chosen]) -> list[str]:
    """What tells the critics apart."""
    if len(chosen) == 1:
        return [chosen[0].names["critic"]]
    return [
        " ".join(
            [one.names["critic"], *(f"{key}={value}" for key, value in differ.items() if key != "critic")]
        )
        for one, differ in zip(chosen, varied(chosen), strict=True)
    ]


def _publish(config: BranchBenchConfig, found: Mapping[str, Rankings], truth: Rankings) -> None:
    """A table, a file and the last line."""
    told = {(name,): rankings for name, rankings in {**found, TRUTH: truth}.items()}
    print(rankings_table(["critic"], told, config.task.name, config))
    file = Path(config.file or Path(config.outputs) / "branches" / f"{config.task.name}.json")
    content = {"settings": canonical(config), "made_by": made_by(), "critics": found, "truth": truth}
    with atomic_file(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps({"file": str(file), "task": config.task.name, "critics": found, "truth": truth}))


@command
def main() -> None:
    """The command line."""
    answer(bench_branches, __doc__)


if __name__ == "__main__":
    main()
