"""A critic that looks through cameras of other names than those it was made for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from envs.store import Store
from envs.types import Episode
from value_model.critic.types import SeeingCritic
from value_model.video.frames import watch


@dataclass(frozen=True)
class LookingThrough:
    """A `SeeingCritic` whose views are given by other cameras of the data, one for each, in order."""

    critic: SeeingCritic
    cameras: tuple[str, ...]

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] of each episode, in order."""
        return self.critic.label(self._renamed(episodes))

    def values(self, frames: np.ndarray, instruction: str, fps: float | None = None) -> np.ndarray:
        """Values float32 [T] of one video uint8 [T, H, W · cameras, 3]."""
        return self.critic.values(frames, instruction, fps)

    def _renamed(self, episodes: Iterable[Episode]) -> Iterator[Episode]:
        """The episodes, with the pictures of `cameras` under the critic's own names, as far as they have them."""
        names = list(zip(self.critic.cameras, self.cameras, strict=True))
        for episode in watch(episodes if isinstance(episodes, Store) else iter(episodes), self.cameras):
            images = {own: episode.images[name] for own, name in names if name in episode.images}
            yield dataclasses.replace(episode, images=images)
