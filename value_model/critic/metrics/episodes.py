"""How good a critic's values are, on episodes whose true progress is known.

Spearman's rank correlation uses average ranks for ties; where a prediction is constant it is undefined (NaN), and the
share of undefined ones is reported: an argsort would score a constant prediction 1.

Source: Suboptimal-Value-Bench, arXiv 2606.24742, section 4 and appendix B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

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


def progress_is_known(episode: Episode) -> bool:
    """Whether true progress follows from what is said: a success without a lapse, or with exactly one that is marked,
    and of the style that goes with it. Of an unknown style or outcome it does not.
    """
    marks = {style: 0 for style in EXPERT_STYLES} | {style: 1 for style in MARKED_STYLES}
    return episode.success is True and marks.get(episode.style) == len(episode.segments)


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
    scores: dict[str, list[float]] = {}
    for episode, values in _labelled(critic, episodes):
        for name, score in _scores(episode, values):
            scores.setdefault(name, []).append(score)
        if progress is not None:
            progress(1)
    for _, values in _labelled(critic, (still(episode) for episode in episodes if _is_expert(episode))):
        if np.isnan(values).any():
            continue
        scores.setdefault("static_voc", []).append(abs(voc(values)))
        scores.setdefault("static_drift", []).append(abs(float(values[-1] - values[0])))
    return {name: value for key in scores for name, value in _summary(key, np.array(scores[key])).items()}


def _labelled(critic: Critic, episodes: Iterable[Episode]) -> Iterator[tuple[Episode, np.ndarray]]:
    """Every episode with its values; those that the critic reads ahead wait here."""
    waiting: list[Episode] = []

    def passing() -> Iterator[Episode]:
        for episode in episodes:
            waiting.append(episode)
            yield episode

    for values in critic.label(passing()):
        yield waiting.pop(0), values


def _scores(episode: Episode, values: np.ndarray) -> Iterator[tuple[str, float]]:
    if episode.success is not None:
        yield ("success_value" if episode.success else "failure_value"), float(values[-1])
    if not progress_is_known(episode):
        return
    if _is_expert(episode):
        yield "expert_voc", voc(values)
    for segment in episode.segments:
        if segment.kind == "hesitation":
            yield "hesitation_rmse", hesitation_rmse(values, segment)
        else:
            yield "retry_voc", retry_voc(values, segment)


def _is_expert(episode: Episode) -> bool:
    return progress_is_known(episode) and episode.style in EXPERT_STYLES


def _summary(name: str, scores: np.ndarray) -> dict[str, float]:
    undefined = np.isnan(scores)
    if name == "static_voc":  # standing still gives a constant value: that is right, and undefined
        return {
            name: float(np.where(undefined, 0.0, scores).mean()),
            "static_undefined": float(undefined.mean()),
        }
    summary = {f"{name}_count": float(len(scores))}
    if not undefined.all():
        summary[name] = float(scores[~undefined].mean())
    if name.endswith("voc"):
        summary[f"{name}_undefined"] = float(undefined.mean())
    return summary
