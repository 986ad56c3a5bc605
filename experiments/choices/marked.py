"""The choice `critic=marked`: what the scripted experts wrote down of their lapses; the mask that bounds every filter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from envs.types import Episode
from experiments.choices.critics import VERSION, CriticSource, Workshop
from experiments.lab.artifacts import digest
from experiments.settings.config import require


@dataclass(frozen=True)
class Marked:
    """Values that stay where they are, and fall within marked lapses and all through a failure.

    So a chunk of two actions or more gains less than nothing where it touches a lapse, and nothing elsewhere: the mask is
    method=filtered_bc_binary advantage=chunk_difference.
    """

    before: int
    after: int

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] of every episode."""
        return (marked_values(episode, self.before, self.after) for episode in episodes)


def marked_values(episode: Episode, before: int, after: int) -> np.ndarray:
    """Float32 [T] in [0, 1]: falling by as much from frame to frame between the one before a lapse and the one after it.

    Args:
        before, after: frames by which every lapse is taken to be longer.
    """
    falls = np.zeros(len(episode) - 1, bool)  # from frame u to u + 1
    for lapse in episode.segments:
        falls[max(lapse.start - before - 1, 0) : lapse.end + after + 1] = True
    if episode.success is False:
        falls[:] = True
    fallen = np.concatenate([[0], np.cumsum(falls)])
    return (1.0 - fallen / max(fallen[-1], 1)).astype(np.float32)


@dataclass(frozen=True)
class MarkedChoice:
    """Marked lapses and failures: the bound of what leaving out bad chunks can win, not a critic of pictures."""

    before: int = 0  # frames before a lapse that count as part of it
    after: int = 0  # and after it

    blind = "critic=marked reads what the scripted expert wrote down"

    def __post_init__(self) -> None:
        require(min(self.before, self.after) >= 0, "critic.before and critic.after must not be negative")

    def check(self, episodes: Sequence[Episode]) -> None:
        """See `CriticChoice`: nothing can be wrong."""

    def views(self) -> tuple[str, ...]:
        """See `CriticChoice`."""
        return ()

    def source(self, workshop: Workshop) -> CriticSource:
        """See `CriticChoice`."""
        return CriticSource(
            digest(["marked", VERSION, self.before, self.after]), lambda: Marked(self.before, self.after)
        )
