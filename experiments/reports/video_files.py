"""Video files of the user's own, decoded frame by frame and shrunk as they come, so that memory stays small."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from envs.errors import UserError
from value_model.video.frames import resize

HEIGHT = 128  # pixels that a decoded frame is shrunk to; critics shrink it further
MOST_FPS = 20.0  # of what is kept


def read_video(path: Path) -> tuple[np.ndarray, float]:
    """A video file's frames uint8 [T, HEIGHT, W, 3] at no more than `MOST_FPS` frames a second, and their rate.

    Raises:
        UserError: there is no such file, it cannot be decoded, or it has fewer than two frames.
    """
    if not path.is_file():
        raise UserError(f"no such video: {path}")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path} has no video track")
            rate = float(container.streams.video[0].average_rate or MOST_FPS)
            every = max(1, round(rate / MOST_FPS))
            frames = [
                _shrunk(frame.to_ndarray(format="rgb24"))
                for number, frame in enumerate(container.decode(video=0))
                if number % every == 0
            ]
    except av.FFmpegError as error:
        raise UserError(f"{path} cannot be decoded ({error}); is it a whole video file?") from error
    if len(frames) < 2:
        raise UserError(f"{path} has {len(frames)} frame(s); a value curve needs at least two")
    return np.stack(frames), rate / every


def _shrunk(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return resize(frame[None], HEIGHT, 2 * max(1, round(HEIGHT * width / height / 2)))[0]


def side_by_side(paths: list[Path]) -> tuple[np.ndarray, float]:
    """Several views of one event as one video, each cut to its central square; one file is taken as it is.

    Raises:
        UserError: see `read_video`; or the files differ in frame rate.
    """
    if len(paths) == 1:
        return read_video(paths[0])
    videos = [read_video(path) for path in paths]
    if len({round(fps, 3) for _, fps in videos}) > 1:
        raise UserError("the views of one event must have the same frame rate")
    length = min(len(frames) for frames, _ in videos)
    return np.concatenate([_square(frames[:length]) for frames, _ in videos], axis=2), videos[0][1]


def _square(frames: np.ndarray) -> np.ndarray:
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(frames[:, top : top + side, left : left + side], HEIGHT, HEIGHT)
