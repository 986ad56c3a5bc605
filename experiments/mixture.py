"""The demonstrations that the shipped critic learns from: several tasks, robots and styles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envs.tasks import ROBOTS, check_choice, task_spec
from experiments.artifacts import Artifacts
from experiments.config import TaskConfig, require
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
    styles: dict[str, dict[str, int]] = field(
        default_factory=_styles
    )  # {robot: {style: episodes of each task}}
    image_size: int = 128  # pixels, as the benchmark's
    seed: int = 0

    def __post_init__(self) -> None:
        require(bool(self.tasks) and bool(self.styles), "mixture.tasks and mixture.styles must not be empty")
        for name in self.tasks:
            task_spec(name)
        for robot in self.styles:
            check_choice("robot", robot, ROBOTS)


def mixture_data(artifacts: Artifacts, mixture: CriticMixture) -> list[Data]:
    """One data set for each robot and task, with seeds that no policy's data and no evaluation share."""
    return [
        _part(artifacts, mixture, TaskConfig(task, robot, mixture.image_size), styles)
        for robot, styles in mixture.styles.items()
        for task in mixture.tasks
    ]


def _part(artifacts: Artifacts, mixture: CriticMixture, task: TaskConfig, styles: Mapping[str, int]) -> Data:
    wanted = {style: count for style, count in styles.items() if count}
    return collect_data(artifacts, task, wanted, "critic_mixture", mixture.seed)
