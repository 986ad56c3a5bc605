"""What a critic is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from envs.types import Episode


@runtime_checkable
class Critic(Protocol):
    """A frozen critic at work: how far has the task come, frame by frame?

    It may read ahead, see several cameras or use privileged state; given a store, it decodes what it looks at.
    """

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] in [0, 1] of every episode, in order: 0 nothing done, 1 done."""
        ...


@runtime_checkable
class SeeingCritic(Critic, Protocol):
    """A critic that judges from pictures alone, as films and rollouts need it."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """The views that `values` is given, side by side."""
        ...

    def values(self, frames: np.ndarray, instruction: str, fps: float | None = None) -> np.ndarray:
        """Values of one video.

        Args:
            frames: uint8 [T, H, W · cameras, 3], in order.
            instruction: what the robot was told to do; not empty.
            fps: frames a second; if not given, those of the data that the critic was made for.

        Returns:
            float32 [T] in [0, 1].
        """
        ...


@runtime_checkable
class TrainedCritic(Critic, Protocol):
    """A critic that can be kept in a folder."""

    def save(self, folder: Path) -> None:
        """Write it into a folder, which is made if need be."""
        ...
