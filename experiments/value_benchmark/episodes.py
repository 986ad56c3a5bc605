"""Which trajectories the value benchmark has: tasks, robots, styles, and the groups that are reported apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from envs.errors import UserError, check_choice
from envs.robosuite.tasks import TASKS
from experiments.lab.artifacts import digest
from experiments.lab.seeds import RANGE, RUN_RANGE
from experiments.settings.config import TaskConfig, require

NAME = "suboptimal-value-bench-sim-v1"
SEED_STRIDE = 50  # run seeds of the purpose "value_bench" for one seed of the benchmark
SUBOPTIMAL = ("hesitation", "retry")
EXTRA: Mapping[str, int] = {"clean": 5, "slow": 3, "noisy": 4, "failure": 5}  # of every combination

PUBLISHED_TASKS = ("lift", "bread", "can", "cereal", "milk", "stack")  # the published RoboSuite column
HELD_OUT_TASKS = ("door", "nut_square")
HELD_OUT_ROBOTS = ("UR5e",)
GROUPS = ("robosuite", "seen", "zero_shot", "all")


@dataclass(frozen=True)
class Combination:
    """A task with a robot; `suboptimal`: how many hesitations, and as many retries."""

    task: str
    robot: str
    suboptimal: int

    @property
    def name(self) -> str:
        """`lift-Panda`."""
        return f"{self.task}-{self.robot}"


COMBINATIONS = (
    *(Combination(task, "Panda", 25) for task in PUBLISHED_TASKS),
    *(Combination(task, robot, 18) for robot in ("Sawyer", "UR5e") for task in PUBLISHED_TASKS),
    *(Combination(task, "Panda", 17) for task in HELD_OUT_TASKS),
)
BY_NAME = {combination.name: combination for combination in COMBINATIONS}


def in_group(group: str, task: str, robot: str) -> bool:
    """Whether trajectories of a task and robot belong to a group.

    robosuite: the published column; zero_shot: a task or robot that critics here are never trained on; seen: the others.
    """
    unseen = task in HELD_OUT_TASKS or robot in HELD_OUT_ROBOTS
    return {
        "robosuite": task in PUBLISHED_TASKS and robot == "Panda",
        "seen": not unseen,
        "zero_shot": unseen,
        "all": True,
    }[group]


@dataclass(frozen=True)
class BenchData:
    """The benchmark's data set: its own, made from seeds, or a folder with one; or a small one for trying things out.

    path: of a benchmark folder; empty: the one under `outputs`, made on its first use.
    """

    path: str = ""
    image_size: int = 128  # pixels, square; cameras are "workspace" and "wrist"
    scale: float = 1.0  # of the number of trajectories of every kind, rounded up
    combinations: tuple[str, ...] = ()  # such as lift-Panda; empty: all
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.combinations:
            check_choice("combination", name, BY_NAME)
        require(len(set(self.combinations)) == len(self.combinations), "data.combinations names one twice")
        require(0 < self.scale <= 1, f"data.scale={self.scale} must be above 0 and at most 1")
        last = RANGE // RUN_RANGE // SEED_STRIDE - 1
        require(0 <= self.seed <= last, f"data.seed={self.seed} is out of range; seeds go from 0 to {last}")
        TaskConfig(name=next(iter(TASKS)), image_size=self.image_size)

    @property
    def chosen(self) -> tuple[Combination, ...]:
        """The combinations, in the benchmark's order."""
        return tuple(one for one in COMBINATIONS if not self.combinations or one.name in self.combinations)

    @property
    def is_benchmark(self) -> bool:
        """Whether these settings make the benchmark itself, and not another, smaller set."""
        return self.chosen == COMBINATIONS and self.scale == 1 and self.seed == 0 and self.image_size == 128

    @property
    def name(self) -> str:
        """The benchmark's name, or that of another set, which tells it from the benchmark and from all others."""
        return NAME if self.is_benchmark else f"not-{NAME}-{digest(replace(self, path=''))[:8]}"

    @property
    def command(self) -> str:
        """What makes it."""
        changed = {
            "data.image_size": "" if self.image_size == 128 else str(self.image_size),
            "data.scale": "" if self.scale == 1 else f"{self.scale:g}",
            "data.combinations": f"[{','.join(self.combinations)}]" if self.combinations else "",
            "data.seed": str(self.seed or ""),
        }
        settings = [f"{name}={value}" for name, value in changed.items() if value]
        return " ".join(["python -m experiments.value_bench generate", *settings])

    def styles(self, combination: Combination) -> dict[str, int]:
        """{style: number of trajectories} of a combination."""
        counts = dict.fromkeys(SUBOPTIMAL, combination.suboptimal) | dict(EXTRA)
        return {style: math.ceil(self.scale * count) for style, count in counts.items()}

    def run_seed(self, combination: Combination) -> int:
        """Whose range of seeds of the purpose "value_bench" a combination draws from: one of its own."""
        return SEED_STRIDE * self.seed + COMBINATIONS.index(combination)


def check_group(group: str) -> None:
    """Refuse what is no group.

    Raises:
        UserError: it is none.
    """
    if group not in GROUPS:
        raise UserError(f"subset={group!r} must be one of {', '.join(GROUPS)}")
