"""A critic's values of episodes: by this process, or in parts by the workers of a cluster, in order all the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from envs.engine import Job, engine
from envs.store import Reading, Store, open_store
from envs.store.lazy import lazy_episodes
from experiments.choices.critics import CriticSource
from value_model.critic.stretches import label_stretches
from value_model.critic.types import Critic

PART = 16  # episodes of a job
AHEAD = 2  # jobs in flight for each worker, so that memory stays flat


def values_anywhere(
    source: CriticSource, store: Store, indices: Sequence[int] | None = None
) -> Iterator[np.ndarray]:
    """Values float32 [T] of the episodes at these indices, or of all."""
    if not engine().spreads:
        chosen = store if indices is None else lazy_episodes(store, indices)
        yield from label_stretches(source.load(), chosen)
        return
    waiting: deque[Job] = deque()
    count = engine().workers(0)
    with engine().jobs(count) as jobs:
        wanted = list(range(len(store)) if indices is None else indices)
        for first in range(0, len(wanted), PART):
            part = wanted[first : first + PART]
            waiting.append(jobs.submit(_part, source, store.folder, store.reading, part))
            if len(waiting) >= AHEAD * count:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _part(source: CriticSource, folder: Path, reading: Reading, indices: Sequence[int]) -> list[np.ndarray]:
    """In a worker."""
    critic = _loaded(_Named(source))
    return list(label_stretches(critic, lazy_episodes(open_store(folder, reading), indices)))


class _Named:
    """A source, told apart by its digest."""

    def __init__(self, source: CriticSource) -> None:
        self.source = source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Named) and other.source.digest == self.source.digest

    def __hash__(self) -> int:
        return hash(self.source.digest)


@lru_cache(maxsize=1)
def _loaded(named: _Named) -> Critic:
    return named.source.load()
