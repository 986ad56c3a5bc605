"""Does a critic rank what may be done next, and does it still where that is imagined? From the stages of branches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.experts.phases import PHASES
from envs.files import load_arrays
from envs.rollout import Actor
from envs.types import STYLES
from experiments.choices.branches import BranchChoice
from experiments.choices.critics import CriticData, CriticSource
from experiments.choices.plain_critics import OracleChoice
from experiments.choices.policies import PolicyChoice
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.ranking import ranking
from experiments.lab.seeds import first_seed
from experiments.settings.config import TaskConfig, require
from experiments.stages.acting import Acting, check_fit
from experiments.stages.branches import (
    BRANCHES,
    BranchPlan,
    gains_of,
    judge_branches,
    progress_of,
    roll_out_branches,
    true_gains,
)
from experiments.stages.imagined_branches import imagine_branches
from experiments.stages.rollouts import policy_digest
from experiments.value_benchmark.critic import bench_critic
from policy_extraction.acting import ActingPolicy
from policy_extraction.methods.bc import BC
from policy_extraction.types import Training


@dataclass(frozen=True)
class BranchSettings:
    """Which branches, and how many."""

    groups: int = 60  # states
    group_size: int = 8  # chunks from each
    decisions: int = 4  # of a branch; every smaller number is told too
    execute: int = 4  # control steps of a decision
    phases: tuple[
        str, ...
    ] = ()  # where branches begin: approach, grasp, lift, place; empty: all, each as often
    styles: tuple[str, ...] = STYLES  # of the demonstrations
    temperature: float = 1.0  # of the policy's action tokens
    workers: int = 0  # simulator processes; 0: one per core
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"groups": 1, "group_size": 2, "decisions": 1, "execute": 1}.items():
            require(getattr(self, name) >= least, f"{name}={getattr(self, name)} must be at least {least}")
        require(self.temperature > 0, f"temperature={self.temperature} must be positive")
        first_seed("branches", self.seed)


Rankings = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""{phase, or "all": {number of moments: r, low, high, groups}}, see `experiments.lab.ranking.ranking`."""


@dataclass(frozen=True)
class Branches:
    """Branches that were done, for every critic to be measured on.

    acting: where; plan: which; made: their artifact.
    """

    context: Context
    acting: Acting
    plan: BranchPlan
    made: Artifact

    def real(self, critic: CriticSource) -> Rankings:
        """The critic's gain on what the simulator showed, with the gain of true progress."""
        return self._ranking(self._judged(critic, self.made, self.acting), self._true)

    def truth(self) -> Rankings:
        """True progress as other demonstrations tell it, with true progress: how well the yardstick knows itself.

        A critic that were right could not be expected above its square root.
        """
        other = _oracle(self.context, self.acting.task, seed=1)
        arrays = load_arrays(self.made.folder / BRANCHES)[0]
        return self._ranking(gains_of(progress_of(arrays, other, self.acting)), self._true)

    def imagined(self, critic: CriticSource, imagination: Acting) -> dict[str, Rankings]:
        """imagined_true: its gain on what is imagined, with that of true progress; imagined_real: with its own on what the
        simulator showed.

        Args:
            imagination: where; its chunks and its horizon are made those of the branches.
        """
        whole = replace(imagination, horizon=self.acting.spec.horizon, execute=self.acting.spec.horizon)
        seen = imagine_branches(self.context, whole, self.plan.every, self.made)
        dreamt = self._judged(critic, seen, whole)
        return {
            "imagined_true": self._ranking(dreamt, self._true),
            "imagined_real": self._ranking(dreamt, self._judged(critic, self.made, self.acting)),
        }

    @property
    def _true(self) -> np.ndarray:
        return true_gains(self.made)[0]

    def _judged(self, critic: CriticSource, seen: Artifact, acting: Acting) -> np.ndarray:
        return judge_branches(self.context, critic, seen, acting.spec, self.plan.every, acting.task)

    def _ranking(self, judged: np.ndarray, true: np.ndarray) -> Rankings:
        grouped = [part.reshape(-1, self.plan.size, part.shape[-1]) for part in (judged, true)]
        return ranking(grouped[0], grouped[1], true_gains(self.made)[1], PHASES)


def make_branches(
    context: Context,
    env: BranchChoice,
    where: Acting,
    plan: BranchPlan,
    make_actor: Callable[[], Actor],
    policy: str,
) -> Branches:
    """Branches in the simulator, with true progress: that of undisturbed experts in the most similar states.

    Args:
        where: at which task, by how many workers, with how many actions between decisions; policy: digest of who acts.

    Raises:
        UserError: a task or robot whose experts are not known.
    """
    acting = replace(where, env=env, horizon=0)
    oracle = _oracle(context, where.task)
    made = roll_out_branches(context, env, acting, plan, make_actor, policy, oracle)
    return Branches(context, acting, plan, made)


def policy_branches(
    context: Context,
    task: TaskConfig,
    settings: BranchSettings,
    policy: PolicyChoice,
    trained: Path | None = None,
) -> Branches:
    """Branches of a policy's chunks, as it is before training or as it was saved in a folder.

    Raises:
        UserError: the policy does not fit the task, or the experts of the task or robot are not known.
    """
    env = BranchChoice(settings.decisions * settings.execute, settings.phases, settings.styles)
    acting = Acting(env, task, 0, settings.workers, settings.execute)
    check_fit(policy.shape(acting.spec), acting.spec, acting.execute)

    def actor() -> ActingPolicy:
        made = policy.make(acting.spec, Training(), settings.seed)
        if trained is not None:
            made.restore(trained)
        return ActingPolicy(made, BC(), settings.temperature)

    plan = BranchPlan(
        settings.groups, settings.group_size, settings.execute, settings.temperature, settings.seed
    )
    digest = policy_digest(trained) if trained else policy.origin(acting.spec)
    return make_branches(context, env, acting, plan, actor, digest)


def _oracle(context: Context, task: TaskConfig, seed: int = 0) -> CriticSource:
    choice = OracleChoice(CriticData(seed=seed))
    return bench_critic(context.artifacts, choice, [f"{task.name}-{task.robot}"])


def doubt(rankings: Rankings, size: int) -> str:
    """One line where gains on imagined branches are not known to follow true progress at the last moment; else empty.

    That is where the interval reaches 0, or there is none: of so few groups an estimate alone is chance.
    """
    found = list(rankings["all"].values())[-1]
    if found["low"] is not None and found["low"] > 0:
        return ""
    return (
        f"within groups of {size} imagined branches the critic's gain is not known to follow true progress: r "
        f"{told(found)}, {found['groups']} groups with spread; what is learned from it may be noise (experiments.fidelity "
        "tells more; branch_check=60 tries more states, branch_check=0 none)"
    )


def ranking_rows(found: Rankings) -> list[list[Any]]:
    """Rows of a table: the phase, how many groups have spread (the fewest – the most), r [low, high] of each moment."""
    rows = []
    for name, of in found.items():
        counts = sorted(int(one["groups"] or 0) for one in of.values())
        groups = f"{counts[0]}–{counts[-1]}" if counts[0] < counts[-1] else str(counts[0])
        rows.append([name, groups, *(told(one) for one in of.values())])
    return rows


def told(one: Mapping[str, float | None]) -> str:
    """A mean with its interval, in words."""
    if one["r"] is None:
        return "–"
    interval = "" if one["low"] is None else f" [{one['low']:.2f}, {one['high']:.2f}]"
    return f"{one['r']:.2f}{interval}"
