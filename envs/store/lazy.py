"""Some episodes of a store, of whose pictures only those are decoded that somebody looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from envs.store.reader import Store
from envs.types import Episode


@dataclass(frozen=True)
class LazyFrames(Mapping[str, np.ndarray]):
    """{camera: uint8 [T, H, W, 3]} of one episode, decoded whenever a camera is asked for; nothing is kept."""

    store: Store
    index: int

    def __getitem__(self, camera: str) -> np.ndarray:
        if camera not in self:
            raise KeyError(camera)
        return self.store.frames(self.index, camera)

    def __contains__(self, camera: object) -> bool:
        return camera in self.store.cameras

    def __iter__(self) -> Iterator[str]:
        return iter(self.store.cameras)

    def __len__(self) -> int:
        return len(self.store.cameras)


def lazy_episodes(store: Store, indices: Iterable[int]) -> Iterator[Episode]:
    """These episodes of the store, in this order, one at a time."""
    for index in indices:
        yield replace(store.episode(index, ()), images=LazyFrames(store, index))
