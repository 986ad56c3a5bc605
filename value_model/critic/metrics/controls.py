"""Videos that show what a critic really looks at: standing still, backwards, or under another instruction; with a pause, or
a stretch undone and done again.

Their frames are made when a critic asks for them, so that only the cameras that it sees are ever decoded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from envs.store import Store
from envs.types import Episode


class LazyImages(Mapping[str, np.ndarray]):
    """{camera: uint8 [T, H, W, 3]} whose frames `load(camera)` gives, anew each time."""

    def __init__(self, cameras: Iterable[str], load: Callable[[str], np.ndarray]) -> None:
        self._cameras = tuple(cameras)
        self._load = load

    def __getitem__(self, camera: str) -> np.ndarray:
        if camera not in self._cameras:
            raise KeyError(camera)
        return self._load(camera)

    def __contains__(self, camera: object) -> bool:
        return camera in self._cameras

    def __iter__(self) -> Iterator[str]:
        return iter(self._cameras)

    def __len__(self) -> int:
        return len(self._cameras)


def unlabelled(store: Store, index: int) -> Episode:
    """Episode `index` as a critic gets it: without what it was meant to be, how it ended and where its segments are."""
    episode = store.episode(index, cameras=())
    images = LazyImages(store.cameras, lambda camera: store.frames(index, camera))
    return dataclasses.replace(episode, images=images, style="unknown", segments=(), success=None)


def still(episode: Episode) -> Episode:
    """The episode with its first frame, and state, at every time: a value that rises there counts frames."""
    stopped = _rearranged(episode, np.zeros(len(episode), np.int64))
    return dataclasses.replace(stopped, rewards=np.zeros_like(episode.rewards))


def backwards(episode: Episode) -> Episode:
    """The episode from its last frame to its first: its values should fall."""
    return _rearranged(episode, np.arange(len(episode))[::-1])


def paused(episode: Episode, at: int, frames: int) -> Episode:
    """The episode with frame `at` standing still for so many frames more: the lapse is [at, at + frames]."""
    return _rearranged(episode, np.sort(np.append(np.arange(len(episode)), np.full(frames, at))))


def retraced(episode: Episode, at: int, frames: int) -> Episode:
    """The episode going back so many frames from frame `at`, then on again: the lapse is [at, at + 2 · frames].

    Raises:
        ValueError: there are not so many before it.
    """
    if not 0 < frames <= at < len(episode):
        raise ValueError(f"{frames} frames back from frame {at} of {len(episode)}")
    back = np.arange(at - 1, at - frames - 1, -1)
    again = np.arange(at - frames + 1, len(episode))
    return _rearranged(episode, np.concatenate([np.arange(at + 1), back, again]))


def told(episode: Episode, instruction: str) -> Episode:
    """The episode under another instruction."""
    return dataclasses.replace(episode, instruction=instruction)


def _rearranged(episode: Episode, frames: np.ndarray) -> Episode:
    """The episode with frame `frames[t]` at time t."""
    images = episode.images
    return dataclasses.replace(
        episode,
        images=LazyImages(images, lambda camera: images[camera][frames]),
        proprio=episode.proprio[frames],
        actions=episode.actions[frames],
        rewards=episode.rewards[frames],
        environment_state=episode.environment_state[frames],
    )
