"""The choice `env=branches`: short episodes in robosuite that begin in the midst of demonstrations."""

from __future__ import annotations

from dataclasses import dataclass, replace

from envs.contract import ChunkEnvs, EnvSpec
from envs.experts.branches import Branching, branch_envs
from envs.types import STYLES
from experiments.choices.environments import EnvChoice, RobosuiteChoice
from experiments.settings.config import TaskConfig, require


@dataclass(frozen=True)
class BranchChoice:
    """What `env=imagination env.starts=all env.horizon=8` imagines, really: a seed draws a demonstration and a moment."""

    horizon: int = 8  # control steps of a branch
    phases: tuple[
        str, ...
    ] = ()  # that they begin in: approach, grasp, lift, place; empty: all, each as often
    styles: tuple[str, ...] = STYLES  # of the demonstrations, each as often

    def __post_init__(self) -> None:
        require(self.horizon >= 1, f"env.horizon={self.horizon} must be at least 1")
        self._branching()

    def spec(self, task: TaskConfig) -> EnvSpec:
        """See `EnvChoice`."""
        return replace(self.real.spec(task), horizon=self.horizon)

    def make(self, task: TaskConfig, spec: EnvSpec, workers: int, execute: int, linger: int = 0) -> ChunkEnvs:
        """See `EnvChoice`."""
        require(linger == 0, "a branch ends where the task is solved; set data.linger=0")
        scene = replace(RobosuiteChoice().scene(task), horizon=spec.horizon)
        return branch_envs(scene, self._branching(), workers, execute)

    def place(self, task: TaskConfig) -> str:
        """See `EnvChoice`."""
        return f"branches of {task.name}"

    def origin(self) -> str:
        """See `EnvChoice`."""
        return ""

    def rows(self, workers: int) -> int:
        """See `EnvChoice`."""
        return self.real.rows(workers)

    @property
    def real(self) -> EnvChoice:
        """See `EnvChoice`: success is measured over whole episodes."""
        return RobosuiteChoice()

    def film_task(self, task: TaskConfig) -> TaskConfig:
        """See `EnvChoice`."""
        return self.real.film_task(task)

    def _branching(self) -> Branching:
        return Branching(self.phases, self.styles)
