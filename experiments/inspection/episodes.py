"""What a page says of an episode: its quality in figures, its values, its lapses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from envs.store import EpisodeInfo
from value_model.critic.metrics.lapses import Lapse, Typical, final_value, find_lapses, typical

POINTS = 1000  # of a curve, at most
SCALE = 1000  # values are whole numbers of thousandths


@dataclass(frozen=True)
class Quality:
    """An episode in figures.

    final: the last known value, NaN if none is; lapses: that were found in the values; stall: seconds of the longest.
    """

    info: EpisodeInfo
    fps: float
    final: float
    lapses: tuple[Lapse, ...]

    @property
    def stall(self) -> float:
        return max((lapse.end - lapse.start + 1 for lapse in self.lapses), default=0) / self.fps

    def json(self, values: np.ndarray) -> dict[str, Any]:
        """As the page reads it, without pictures; what is unknown is null."""
        info = self.info
        every = -(-len(values) // POINTS)
        return {
            "number": info.number,
            "frames": info.length,
            "fps": self.fps,
            "instruction": info.instruction,
            "style": None if info.style == "unknown" else info.style,
            "success": info.success,
            "final": _known(self.final),
            "stall": round(self.stall, 2),
            "lapses": [{**asdict(lapse), "fall": _known(lapse.fall)} for lapse in self.lapses],
            "marked": [asdict(segment) for segment in info.segments],
            "every": every,
            "values": [None if np.isnan(one) else round(SCALE * float(one)) for one in values[::every]],
        }


def usual(infos: Iterable[EpisodeInfo], curves: Iterable[np.ndarray]) -> Typical:
    """What the episodes have in common; the curves are read once."""
    lengths, finals = [], []
    for info, values in zip(infos, curves, strict=True):
        lengths.append(info.length)
        finals.append(final_value(values))
    return typical(lengths, finals)


def qualities(
    infos: Iterable[EpisodeInfo], curves: Iterable[np.ndarray], fps: float, common: Typical
) -> Iterator[tuple[Quality, np.ndarray]]:
    """Every episode in figures, and its values [T]."""
    for info, values in zip(infos, curves, strict=True):
        yield Quality(info, fps, final_value(values), tuple(find_lapses(values, fps, common))), values


def _known(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
