"""A critic's values of a data set: of the episodes that it has not labelled yet, the others from the cache."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.store import Store
from envs.store.fingerprint import fingerprint
from experiments.choices.critics import CriticSource
from experiments.lab.progress import bar
from experiments.labelling.cache import ValueCache
from experiments.labelling.spread import values_anywhere
from value_model.critic.progress import check_values, read_progress
from value_model.critic.types import Critic, SeeingCritic

LABELS = "labels"  # folder of the caches, beside the artifacts
KEEP_SECONDS = 10.0  # of labelling that a kill may cost


@dataclass(frozen=True)
class Curves:
    """A critic's values of every episode of a data set, read as they are asked for.

    labelled: episodes that were labelled now; frames, seconds: theirs.
    """

    cache: ValueCache | None
    fingerprints: Sequence[str]
    read: Sequence[np.ndarray]
    labelled: int = 0
    frames: int = 0
    seconds: float = 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.read) if self.cache is None else self.cache.values(self.fingerprints)


def value_curves(store: Store, source: CriticSource, folder: Path) -> Curves:
    """The values float32 [T] in [0, 1] of every episode of the store; NaN where unknown.

    Args:
        folder: of the caches, one a critic.

    Raises:
        UserError: the critic cannot read the data set, or gave values outside [0, 1]; what was labelled before is kept.
    """
    if source.file is not None:
        return Curves(None, (), read_progress(source.file, store))
    cache, prints = ValueCache(_place(folder, source)), _fingerprints(source.load(), store)
    first = {one: index for index, one in reversed(list(enumerate(prints)))}
    new = [index for index, one in enumerate(prints) if one not in cache and first[one] == index]
    began = time.perf_counter()
    frames = _label(source, store, new, prints, cache)
    return Curves(cache, prints, (), len(new), frames, time.perf_counter() - began)


def known_curves(store: Store, source: CriticSource, folder: Path) -> Curves | None:
    """What `value_curves` has kept in `folder`, if it is of every episode of the store; nothing is labelled."""
    if source.file is not None or not _place(folder, source).is_dir():
        return None
    cache, prints = ValueCache(_place(folder, source)), _fingerprints(source.load(), store)
    return Curves(cache, prints, ()) if all(one in cache for one in prints) else None


def _place(folder: Path, source: CriticSource) -> Path:
    return folder / source.digest[:16]


def _fingerprints(critic: Critic, store: Store) -> list[str]:
    """Of every episode, as the critic sees it."""
    cameras = critic.cameras if isinstance(critic, SeeingCritic) else store.cameras
    seen = [name for name in cameras if name in store.cameras]
    prints = []
    with bar("look for new episodes", len(store), "episodes") as shown:
        for index in range(len(store)):
            prints.append(fingerprint(store, index, seen))
            shown.update()
    return prints


def _label(
    source: CriticSource, store: Store, new: Sequence[int], prints: Sequence[str], cache: ValueCache
) -> int:
    """Label the episodes `new` and keep their values as they come; how many frames that were."""
    waiting: dict[str, np.ndarray] = {}
    lengths = [store.episode_info(index).length for index in new]
    kept = time.monotonic()
    answers = values_anywhere(source, store, new)
    try:
        with bar("label", sum(lengths), "frames") as shown:
            for index, length, values in zip(new, lengths, answers, strict=True):
                check_values(values, length, f"episode {index}")
                waiting[prints[index]] = values
                shown.update(length)
                if time.monotonic() - kept > KEEP_SECONDS:
                    cache.add(waiting)
                    waiting, kept = {}, time.monotonic()
    finally:
        cache.add(waiting)
    return sum(lengths)
