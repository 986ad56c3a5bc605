"""The demonstrations that the shipped critic learns from: several tasks, robots and styles."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from envs.errors import check_choice
from envs.robosuite.tasks import ROBOTS, task_spec
from experiments.lab.artifacts import Artifacts
from experiments.settings.config import TaskConfig, require
from experiments.stages.data import Data, collect_data

TASKS = ("stack", "can", "milk", "cereal", "bread", "lift")


def _styles() -> dict[str, dict[str, int]]:
    panda = {"clean": 30, "noisy": 20, "slow": 15, "hesitation": 30, "retry": 30, "detour": 10, "failure": 10}
    sawyer = {"clean": 20, "noisy": 10, "slow": 8, "hesitation": 20, "retry": 20, "detour": 6, "failure": 6}
    return {"Panda": panda, "Sawyer": sawyer}


@dataclass(frozen=True)
class CriticMixture:
    """Which demonstrations; `door`, `nut_square` and UR5e are left for the benchmark's zero-shot part."""

    tasks: tuple[str, ...] = TASKS
    robots: tuple[str, ...] = ("Panda", "Sawyer")
    styles: dict[str, dict[str, int]] = field(
        default_factory=_styles
    )  # {robot: {style: episodes of each task}}
    share: float = 1.0  # of those numbers, rounded up
    image_size: int = 128  # pixels, as the benchmark's
    seed: int = 0

    def __post_init__(self) -> None:
        require(bool(self.tasks) and bool(self.robots), "mixture.tasks and mixture.robots must not be empty")
        require(0 < self.share <= 1, f"mixture.share={self.share} must be above 0 and at most 1")
        for name in self.tasks:
            task_spec(name)
        for robot in self.robots:
            check_choice("robot", robot, ROBOTS)
            require(
                robot in self.styles,
                f"mixture.styles says nothing of {robot}; it has {', '.join(self.styles)}",
            )

    def counts(self, robot: str) -> dict[str, int]:
        """{style: episodes of each task} with a robot."""
        return {style: math.ceil(self.share * count) for style, count in self.styles[robot].items() if count}


def mixture_data(artifacts: Artifacts, mixture: CriticMixture) -> list[Data]:
    """One data set for each robot and task, with seeds that no policy's data and no evaluation share."""
    return [
        collect_data(
            artifacts,
            TaskConfig(task, robot, mixture.image_size),
            mixture.counts(robot),
            "critic_mixture",
            mixture.seed,
        )
        for robot in mixture.robots
        for task in mixture.tasks
    ]
