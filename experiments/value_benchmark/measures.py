"""What the value benchmark measures: its settings, which trajectories, and the metrics that a single one has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from envs.errors import UserError
from envs.store import EpisodeInfo
from envs.types import STYLES
from experiments.settings.config import require
from experiments.value_benchmark.episodes import check_group, in_group
from value_model.critic.metrics.episodes import EXPERT_STYLES, hesitation_rmse, retry_voc, voc


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


@dataclass(frozen=True)
class Views:
    """A critic's values float32 [T] of one trajectory: as it is, and where they exist the controls.

    told: under each of the other tasks' instructions.
    """

    base: np.ndarray
    still: np.ndarray | None = None
    backwards: np.ndarray | None = None
    told: tuple[np.ndarray, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether the critic gave no value (NaN) for a frame of the trajectory."""
        return bool(np.isnan(self.base).any())


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


def trajectory_scores(info: EpisodeInfo, views: Views, every: int = 1) -> Iterator[tuple[str, float]]:
    """The metrics that a single trajectory has, by name; NaN where one is undefined."""
    values = views.base
    yield "missing", float(views.missing)
    yield ("success_value" if info.success else "failure_value"), float(values[-1])
    if info.success and info.style in EXPERT_STYLES:
        yield "expert_voc", voc(values[::every])
    for segment in info.segments if info.success else ():
        if segment.kind == "hesitation":
            yield "hesitation_rmse", hesitation_rmse(values, segment, every)
        else:
            yield "retry_voc", retry_voc(values, segment, every)
    if views.still is not None:
        order, gone = voc(views.still[::every]), np.isnan(views.still).any()
        yield (
            "static_voc",
            float("nan") if gone else float(np.nan_to_num(abs(order))),
        )  # constant is right here
        yield "static_constant", float("nan") if gone else float(np.isnan(order))
        yield "static_drift", abs(float(views.still[-1] - views.still[0]))
    if views.backwards is not None:
        yield "vroc", voc(views.backwards[::every])
    if views.told:
        others = np.array([told[-1] for told in views.told])
        gone = np.isnan(others).any() or views.missing
        yield "instruction_margin", float(values[-1] - others.mean())
        yield "instruction_top1", float("nan") if gone else float(values[-1] > others.max())
