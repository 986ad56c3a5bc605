"""Episodes in which the robot was told one thing after another: each stretch is a video of its own to a critic."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from envs.store import Store
from envs.types import Episode
from value_model.critic.metrics.controls import LazyImages
from value_model.critic.types import Critic


def label_stretches(critic: Critic, store: Store) -> Iterator[np.ndarray]:
    """Values float32 [T] of every episode of a store, in order; those of each stretch are under its own instruction.

    Where every episode has one instruction, this is `critic.label(store)`.
    """
    parts = [len(store.episode_info(index).instructions) for index in range(len(store))]
    if max(parts) == 1:
        yield from critic.label(store)
        return
    values = critic.label(part for index in range(len(store)) for part in stretches(_unread(store, index)))
    for count in parts:
        yield np.concatenate([next(values) for _ in range(count)])


def stretches(episode: Episode) -> Iterator[Episode]:
    """The stretches of an episode, each under what the robot was told in it; pictures are cut when they are looked at."""
    starts = [0, *(frame for frame, _ in episode.later), len(episode)]
    for start, end in pairwise(starts):
        yield _cut(episode, slice(start, end))


def _unread(store: Store, index: int) -> Episode:
    """An episode whose pictures are decoded when they are looked at."""
    images = LazyImages(store.cameras, lambda camera: store.frames(index, camera))
    return dataclasses.replace(store.episode(index, cameras=()), images=images)


def _cut(episode: Episode, frames: slice) -> Episode:
    if not episode.later:
        return episode
    numbers = ("proprio", "actions", "rewards", "environment_state")
    return dataclasses.replace(
        episode,
        images=LazyImages(episode.images, lambda camera: episode.images[camera][frames]),
        instruction=episode.told[frames.start],
        later=(),
        segments=(),
        **{name: getattr(episode, name)[frames] for name in numbers},
    )
