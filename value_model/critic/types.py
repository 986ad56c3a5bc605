"""What a critic is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from envs.types import Episode


@runtime_checkable
class ValueModel(Protocol):
    """A frozen critic: how far has the task come, frame by frame?"""

    def values(self, frames: np.ndarray, instruction: str) -> np.ndarray:
        """Values of one episode.

        Args:
            frames: uint8 [T, H, W, 3], in order, at the rate of the data set.
            instruction: what the robot was told to do; not empty.

        Returns:
            float32 [T] in [0, 1]: 0 nothing done, 1 done.
        """
        ...


@runtime_checkable
class EpisodeCritic(Protocol):
    """A critic of whole episodes, which may read ahead, see several cameras or use privileged state."""

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] in [0, 1] of every episode, in order."""
        ...
