"""Episodes in which the robot was told one thing after another: each stretch is a video of its own to a critic."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from envs.store import Store
from envs.store.lazy import lazy_episodes
from envs.types import Episode
from value_model.critic.metrics.controls import LazyImages
from value_model.critic.types import Critic


def label_stretches(critic: Critic, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
    """Values float32 [T] of every episode, in order; those of each stretch are under its own instruction.

    Of a store in which every episode has one instruction, this is `critic.label(store)`.
    """
    if isinstance(episodes, Store):
        infos = (episodes.episode_info(index) for index in range(len(episodes)))
        if all(len(info.instructions) == 1 for info in infos):
            yield from critic.label(episodes)
            return
        episodes = lazy_episodes(episodes, range(len(episodes)))
    counts: deque[int] = deque()
    found: list[np.ndarray] = []
    for values in critic.label(_counted(episodes, counts)):
        found.append(values)
        if len(found) == counts[0]:
            counts.popleft()
            yield np.concatenate(found)
            found = []


def _counted(episodes: Iterable[Episode], counts: deque[int]) -> Iterator[Episode]:
    """The stretches of all episodes; how many each has is put into `counts` before its first is given."""
    for episode in episodes:
        counts.append(1 + len(episode.later))
        yield from stretches(episode)


def stretches(episode: Episode) -> Iterator[Episode]:
    """The stretches of an episode, each under what the robot was told in it; pictures are cut when they are looked at."""
    starts = [0, *(frame for frame, _ in episode.later), len(episode)]
    for start, end in pairwise(starts):
        yield _cut(episode, slice(start, end))


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
