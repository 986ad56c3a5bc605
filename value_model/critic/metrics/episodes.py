"""How good a critic's values are, on episodes whose true progress is known.

Spearman's rank correlation uses average ranks for ties; where a prediction is constant it is undefined (NaN), and the
share of undefined ones is reported: an argsort would score a constant prediction 1.

Source: Suboptimal-Value-Bench, arXiv 2606.24742, section 4 and appendix B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from envs.errors import UserError
from envs.types import Episode, Segment
from value_model.critic.metrics.controls import still
from value_model.critic.types import Critic

EXPERT_STYLES = ("clean", "noisy", "slow")
MARKED_STYLES = ("hesitation", "retry")


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing the mean of theirs: [3, 1, 3] → [2.5, 1, 2.5]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation of two sequences, NaN where one of them is constant or holds NaN."""
    if len(first) < 2 or np.isnan(first).any() or np.isnan(second).any():
        return float("nan")
    a, b = average_ranks(first), average_ranks(second)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 0 else float("nan")


def voc(values: np.ndarray) -> float:
    """Value-order correlation: Spearman of the values [T] with time; NaN for constant values."""
    return spearman(values, np.arange(len(values)))


def true_progress(length: int, segments: Sequence[Segment] = ()) -> np.ndarray:
    """True values float32 [T] of an expert episode with at most one suboptimal segment [m, n], x = n − m.

    Piecewise linear through (0, 0), (m, v_m), (n, v_n), (T − 1, 1):
    hesitation v_m = v_n = m / (T − 1 − x); retry v_m = m / (T − 2x), v_n = max(0, (m − x) / (T − 2x)).

    Raises:
        UserError: more than one segment, or one that leaves no room for progress.
    """
    if not segments:
        return np.linspace(0, 1, length, dtype=np.float32)
    if len(segments) > 1:
        raise UserError("true progress is defined for at most one suboptimal segment in an episode")
    m, n = segments[0].start, segments[0].end
    x, retry = n - m, segments[0].kind == "retry"
    span = length - 2 * x if retry else length - 1 - x
    if not 0 < m < n < length - 1 or m > span:
        raise UserError(f"the segment [{m}, {n}] does not fit an episode of {length} frames")
    ends = (m / span, max(0.0, (m - x) / span)) if retry else (m / span, m / span)
    return np.interp(np.arange(length), [0, m, n, length - 1], [0, *ends, 1]).astype(np.float32)


def progress_is_known(of: Trajectory) -> bool:
    """Whether true progress follows from what is said: a success without a lapse, or with exactly one that is marked,
    and of the style that goes with it. Of an unknown style or outcome it does not.
    """
    marks = {style: 0 for style in EXPERT_STYLES} | {style: 1 for style in MARKED_STYLES}
    return of.success is True and marks.get(of.style) == len(of.segments)


def known_progress(episode: Episode) -> np.ndarray | None:
    """True progress float32 [T] of an episode, None where it is not known."""
    return true_progress(len(episode), episode.segments) if progress_is_known(episode) else None


def hesitation_rmse(values: np.ndarray, segment: Segment, every: int = 1) -> float:
    """Root mean squared error of the values [T] over the frames of a hesitation.

    every: only frames 0, every, 2 · every, … count; NaN where none of them lies in the segment.
    """
    inside = _inside(segment, every)
    error = values[inside] - true_progress(len(values), (segment,))[inside]
    return float(np.sqrt((error**2).mean())) if len(inside) else float("nan")


def retry_voc(values: np.ndarray, segment: Segment, every: int = 1) -> float:
    """VOC of the values [T] where the true curve falls: +1 if they fall there, −1 if they rise, NaN if constant.

    every: only frames 0, every, 2 · every, … count; NaN where fewer than two of them lie in the segment.
    """
    inside = _inside(segment, every)
    return spearman(values[inside], true_progress(len(values), (segment,))[inside])


def _inside(segment: Segment, every: int) -> np.ndarray:
    """The frames of a segment that count."""
    frames = np.arange(segment.start, segment.end + 1)
    return frames[frames % every == 0]


@runtime_checkable
class Trajectory(Protocol):
    """What is known of a trajectory beside its frames: an `Episode`, or a store's `EpisodeInfo`."""

    @property
    def success(self) -> bool | None: ...

    @property
    def style(self) -> str: ...

    @property
    def segments(self) -> tuple[Segment, ...]: ...


@dataclass(frozen=True)
class Facts:
    """A `Trajectory` and nothing else."""

    success: bool | None
    style: str
    segments: tuple[Segment, ...]


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


def is_expert(of: Trajectory) -> bool:
    """Whether a trajectory is an undisturbed success."""
    return progress_is_known(of) and of.style in EXPERT_STYLES


def collect_scores(
    measured: Iterable[tuple[Trajectory, Views]], every: int = 1
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{metric: (which trajectories have it, their scores; NaN: undefined)}: what every measurement of a critic is from.

    every: only frames 0, every, 2 · every, … count.
    """
    found: dict[str, tuple[list[int], list[float]]] = {}
    for row, (of, views) in enumerate(measured):
        for name, score in trajectory_scores(of, views, every):
            rows, scores = found.setdefault(name, ([], []))
            rows.append(row)
            scores.append(score)
    return {name: (np.array(rows), np.array(scores)) for name, (rows, scores) in found.items()}


def trajectory_scores(of: Trajectory, views: Views, every: int = 1) -> Iterator[tuple[str, float]]:
    """The metrics that a single trajectory has, by name; NaN where one is undefined."""
    values = views.base
    yield "missing", float(views.missing)
    if of.success is not None:
        yield ("success_value" if of.success else "failure_value"), float(values[-1])
    if is_expert(of):
        yield "expert_voc", voc(values[::every])
    for segment in of.segments if progress_is_known(of) else ():
        if segment.kind == "hesitation":
            yield "hesitation_rmse", hesitation_rmse(values, segment, every)
        else:
            yield "retry_voc", retry_voc(values, segment, every)
    if views.still is not None:
        order, gone = voc(views.still[::every]), np.isnan(views.still).any()
        flat = float(np.nan_to_num(abs(order)))  # constant is right here
        yield "static_voc", float("nan") if gone else flat
        yield "static_constant", float("nan") if gone else float(np.isnan(order))
        yield "static_drift", abs(float(views.still[-1] - views.still[0]))
    if views.backwards is not None:
        yield "vroc", voc(views.backwards[::every])
    if views.told:
        others = np.array([told[-1] for told in views.told])
        gone = np.isnan(others).any() or views.missing
        yield "instruction_margin", float(values[-1] - others.mean())
        yield "instruction_top1", float("nan") if gone else float(values[-1] > others.max())


def measure_critic(
    critic: Critic, episodes: Iterable[Episode], progress: Callable[[int], object] | None = None
) -> dict[str, float]:
    """All metrics of a critic over held-out episodes; what has no episode is left out.

    expert_voc: over successes of style clean, noisy or slow; hesitation_rmse, retry_voc: over successes of that style
    with one such segment; static_voc: mean |VOC| and static_drift: mean |last − first| of videos that repeat the first
    frame of the expert episodes (undefined static VOCs, of constant values, count as 0); failure_value and
    success_value: mean value of the last frame, of episodes whose outcome is known. `…_undefined` is a share, `…_count` a
    number of episodes.

    Args:
        episodes: held out of the critic's training; read one at a time, twice.
        progress: called with 1 after every episode.
    """
    measured: list[tuple[Trajectory, Views]] = []
    for episode, values in _labelled(critic, episodes):
        measured.append((Facts(episode.success, episode.style, episode.segments), Views(values)))
        if progress is not None:
            progress(1)
    experts = [row for row, (facts, _) in enumerate(measured) if is_expert(facts)]
    standing = _labelled(critic, (still(episode) for episode in episodes if is_expert(episode)))
    for row, (_, values) in zip(experts, standing, strict=True):
        measured[row] = measured[row][0], replace(measured[row][1], still=values)
    found: dict[str, float] = {}
    for name, (_, scores) in collect_scores(measured).items():
        found |= summary(name, scores)
    return found


def _labelled(critic: Critic, episodes: Iterable[Episode]) -> Iterator[tuple[Episode, np.ndarray]]:
    """Every episode with its values; those that the critic reads ahead wait here."""
    waiting: list[Episode] = []

    def passing() -> Iterator[Episode]:
        for episode in episodes:
            waiting.append(episode)
            yield episode

    for values in critic.label(passing()):
        yield waiting.pop(0), values


def summary(name: str, scores: np.ndarray) -> dict[str, float]:
    """{figure: value} of one metric's scores [n], see `measure_critic`."""
    undefined = np.isnan(scores)
    if name == "missing":
        return {}
    if name == "static_constant":  # a constant value is right here; its VOC is undefined, and counts as 0
        return {} if undefined.all() else {"static_undefined": float(np.nanmean(scores))}
    if name == "static_voc":
        return {} if undefined.all() else {name: float(scores[~undefined].mean())}
    found = {f"{name}_count": float(len(scores))}
    if not undefined.all():
        found[name] = float(scores[~undefined].mean())
    if name.endswith("voc"):
        found[f"{name}_undefined"] = float(undefined.mean())
    return found
