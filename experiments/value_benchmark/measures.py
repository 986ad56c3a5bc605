"""What the value benchmark measures: its settings, which trajectories, and how good one is in the eyes of a critic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.errors import UserError
from envs.store import EpisodeInfo
from envs.types import STYLES
from experiments.settings.config import require
from experiments.value_benchmark.episodes import check_group, in_group
from value_model.critic.metrics.episodes import voc


@dataclass(frozen=True)
class Measures:
    """What is measured, on which trajectories."""

    subset: str = "all"  # all, robosuite (the published column), seen, zero_shot
    limit: int = 0  # trajectories of each task, robot and style at most; 0: all
    every: int = (
        1  # score every k-th frame; published: 2 of 10 frames a second of 24 s, ours have 20 of 3 to 12 s
    )
    control_videos: int = 5  # of each task and robot that are also shown standing still and backwards
    instruction_videos: int = 2  # of each task and robot that are also shown under every other instruction
    drop_seconds: float = 1.0  # window of the drop detection
    bootstrap: int = 1000  # resamplings

    def __post_init__(self) -> None:
        check_group(self.subset)
        for name in ("limit", "control_videos", "instruction_videos"):
            require(getattr(self, name) >= 0, f"{name}={getattr(self, name)} must not be negative")
        for name in ("every", "bootstrap"):
            require(getattr(self, name) >= 1, f"{name}={getattr(self, name)} must be at least 1")
        require(self.drop_seconds > 0, f"drop_seconds={self.drop_seconds} must be positive")

    @property
    def whole(self) -> bool:
        """Whether every trajectory and every frame is measured."""
        return self.subset == "all" and not self.limit and self.every == 1


def chosen(infos: Sequence[EpisodeInfo], measures: Measures) -> list[EpisodeInfo]:
    """The trajectories that are measured: those of the subset, up to the limit, in order.

    Raises:
        UserError: there are none, or one of an unknown style or outcome.
    """
    counts: dict[tuple[str, str, str], int] = {}
    kept = []
    for info in infos:
        if info.style not in STYLES:
            raise UserError(
                f"trajectory {info.index} has no known style ({info.style}); this is no benchmark"
            )
        if info.success is None:
            raise UserError(f"trajectory {info.index} does not say how it ended; this is no benchmark")
        key = (info.task, info.robot, info.style)
        counts[key] = counts.get(key, 0) + 1
        if in_group(measures.subset, info.task, info.robot) and not 0 < measures.limit < counts[key]:
            kept.append(info)
    if not kept:
        raise UserError(f"the benchmark has no trajectory of subset={measures.subset}; choose another one")
    return kept


def trajectory_score(values: np.ndarray, every: int = 1) -> float:
    """How good a trajectory is in the eyes of a critic: its final value times VOC; 0 for constant values, NaN for NaN.

    With true values it is 1 for an expert, less for a hesitation and a retry, least for a failure.
    """
    if np.isnan(values).any():
        return float("nan")
    order = voc(values[::every])
    return 0.0 if np.isnan(order) else float(values[-1]) * order
