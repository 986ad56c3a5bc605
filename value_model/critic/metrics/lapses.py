"""Where an episode comes no further: stalls and setbacks, found in its values alone.

With M(t) = max of the values until t, a lapse is a longest stretch [a, b] in which the best reached so far hardly grows,
M(b) − M(a) < `rise`, and which lasts; those with hardly a gap between them are one. It is a setback if the values fall by
more than `drop` below M in it, and else a stall. What comes after the task is done (M at a share `done` of the last value
that episodes of the data set typically reach) is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LapseRule:
    """What counts as a lapse.

    rise, drop: of the values; share, seconds: the shortest lapse is the longer of this share of a typical episode and
    this time; done: share of the typical last value from which on an episode is over.
    """

    rise: float = 0.02
    drop: float = 0.06
    share: float = 0.1
    seconds: float = 0.5
    done: float = 0.95


@dataclass(frozen=True)
class Lapse:
    """A stretch of an episode, `start` and `end` inclusive frames, in which it came no further.

    kind: "stall" or "setback"; fall: how far the values fell below the best before it.
    """

    kind: str
    start: int
    end: int
    fall: float


@dataclass(frozen=True)
class Typical:
    """Of a data set: the median number of frames of its episodes, and the median of their last values."""

    length: float
    final: float


def typical(lengths: Sequence[int], finals: Sequence[float]) -> Typical:
    """What the episodes of a data set have in common; where no last value is known, 1."""
    known = [final for final in finals if np.isfinite(final)]
    return Typical(float(np.median(lengths)), float(np.median(known)) if known else 1.0)


def final_value(values: np.ndarray) -> float:
    """The last value of an episode that is known: NaN if none is."""
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else float("nan")


def find_lapses(values: np.ndarray, fps: float, usual: Typical, rule: LapseRule | None = None) -> list[Lapse]:
    """The lapses of an episode whose values [T] are given; none where values are unknown (NaN)."""
    rule = rule or LapseRule()
    if not np.isfinite(values).all() or len(values) < 2:
        return []
    best = np.maximum.accumulate(values)
    shortest = max(rule.share * usual.length, rule.seconds * fps)
    over = rule.done * usual.final
    found: list[tuple[int, int]] = []
    start = 0
    while start < len(values) and best[start] < over:
        end = (
            int(np.searchsorted(best, best[start] + rule.rise)) - 1
        )  # the last frame before it has grown so far
        if end - start + 1 < shortest:
            start += 1
            continue
        joins = bool(found) and start - found[-1][1] <= shortest / 4
        found[-1:] = [(found[-1][0], end)] if joins else [*found[-1:], (start, end)]
        start = end + 1
    return [_lapse(values, best, start, end, rule) for start, end in found]


def _lapse(values: np.ndarray, best: np.ndarray, start: int, end: int, rule: LapseRule) -> Lapse:
    fall = float((best[start : end + 1] - values[start : end + 1]).max())
    return Lapse("setback" if fall > rule.drop else "stall", start, end, fall)


def covered(lapses: Sequence[Lapse], start: int, end: int) -> float:
    """The share of the frames `start` to `end`, both inclusive, that lie in lapses."""
    inside = sum(max(0, min(one.end, end) - max(one.start, start) + 1) for one in lapses)
    return inside / (end - start + 1)
