"""Beside trajectories: does a critic tell the better of several actions from one state? See `experiments.branch_bench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envs.errors import check_choice
from envs.robosuite.tasks import ROBOSUITE_TASKS
from experiments.choices.policies import VLAChoice
from experiments.lab.artifacts import Artifacts
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.reports.rankings import TRUTH, rankings_table
from experiments.settings.config import TaskConfig
from experiments.stages.ranking import BranchSettings, Rankings, policy_branches
from experiments.value_benchmark.critic import bench_critic

ROBOT = "Panda"
BranchRankings = Mapping[str, Rankings]
"""{task: how a critic ranks the branches of it}."""


def check_tasks(tasks: Sequence[str]) -> None:
    """Raises UserError for one whose branches cannot be done."""
    for task in tasks:
        check_choice("branches", task, ROBOSUITE_TASKS)


def rank_branches(
    artifacts: Artifacts, tasks: Sequence[str], settings: BranchSettings, critics: Mapping[str, Any]
) -> dict[str, dict[str, Rankings]]:
    """{critic, and `TRUTH`: {task: rankings}} of critics {name: choice}, all on the same branches of the base policy's."""
    found: dict[str, dict[str, Rankings]] = {name: {} for name in (*critics, TRUTH)}
    with Simulators() as simulators:
        context = Context(artifacts, Tracker(None), simulators)
        for task in tasks:
            branches = policy_branches(context, TaskConfig(task, ROBOT), settings, VLAChoice(head="token"))
            for name, choice in critics.items():
                found[name][task] = branches.real(bench_critic(artifacts, choice, [f"{task}-{ROBOT}"]))
            found[TRUTH][task] = branches.truth()
    return found


def branch_table(found: Mapping[str, BranchRankings], settings: BranchSettings) -> str:
    """A row for every critic, task and phase."""
    rows = {(name, task): rankings for name, tasks in found.items() for task, rankings in tasks.items()}
    return rankings_table(["critic", "task"], rows, "a task", settings)
