"""Frames as critics read them: checked, resized in one place, and the cameras side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

from envs.errors import UserError
from envs.store import Store
from envs.types import Episode


def check_frames(frames: np.ndarray) -> None:
    """Raise a UserError unless `frames` is uint8 [T, H, W, 3] with T ≥ 1."""
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        raise UserError(
            f"frames must be a uint8 array, not {getattr(frames, 'dtype', type(frames).__name__)}"
        )
    if frames.ndim != 4 or frames.shape[-1] != 3 or min(frames.shape) < 1:
        raise UserError(f"frames must have shape [T, H, W, 3] with T ≥ 1, not {list(frames.shape)}")


def resize(frames: np.ndarray, height: int, width: int, smooth: bool = True) -> np.ndarray:
    """Frames uint8 [T, H, W, 3] as [T, height, width, 3], each pixel the mean over its area.

    With smooth=False each pixel is a sample instead, as a renderer of that size without antialiasing gives it.
    """
    check_frames(frames)
    if frames.shape[1:3] == (height, width):
        return frames
    how = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height), how)) for frame in frames])


def beside(views: Sequence[np.ndarray]) -> np.ndarray:
    """Views uint8 [T, H, W, 3] of any sizes side by side, at the first one's height and their own proportions."""
    height = views[0].shape[1]
    widths = [max(1, round(view.shape[2] * height / view.shape[1])) for view in views]
    return np.concatenate(
        [resize(view, height, width) for view, width in zip(views, widths, strict=True)], axis=2
    )


def episode_frames(episode: Episode, cameras: tuple[str, ...], size: int, smooth: bool = True) -> np.ndarray:
    """What a critic sees of an episode: its cameras side by side, uint8 [T, size, size · cameras, 3].

    Args:
        smooth: see `resize`.

    Raises:
        UserError: the episode lacks a camera, or its images have a wrong type or shape.
    """
    missing = [camera for camera in cameras if camera not in episode.images]
    if missing:
        raise UserError(
            f"the episode has no camera {missing[0]!r}; it has {', '.join(sorted(episode.images)) or 'none'}"
        )
    return np.concatenate([resize(episode.images[camera], size, size, smooth) for camera in cameras], axis=2)


Episodes = Iterable[Episode] | Sequence[Store]
"""Episodes, one store or several stores one after the other."""


def watch(episodes: Episodes, cameras: tuple[str, ...] | None) -> Iterator[Episode]:
    """The episodes one at a time; of stores, only the frames of `cameras` are decoded (None: of all)."""
    if isinstance(episodes, Store):
        wanted = [camera for camera in episodes.cameras if cameras is None or camera in cameras]
        for index in range(len(episodes)):
            yield episodes.episode(index, wanted)
        return
    for part in episodes:
        if isinstance(part, Store):
            yield from watch(part, cameras)
        else:
            yield part
