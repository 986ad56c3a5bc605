"""Video files of the user's own, decoded frame by frame and shrunk as they come, so that memory stays small."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from envs.errors import UserError
from envs.films import film_rate, film_times, frames_at
from value_model.video.frames import resize

HEIGHT = 128  # pixels that a decoded frame is shrunk to; critics shrink it further
MOST_FPS = 20.0  # of what is kept


def side_by_side(paths: list[Path]) -> tuple[np.ndarray, float]:
    """Several views of one event as one video uint8 [T, HEIGHT, W, 3], and its frames a second, at most `MOST_FPS`.

    Each view is cut to its central square; one file is taken as it is. What is shown together is what was seen at the
    same time: pictures are chosen by their time stamps, whatever the files' rates, at that of the slowest, as long as
    all of them last.

    Raises:
        UserError: there is no such file, it cannot be decoded, or it has fewer than two frames.
    """
    times = [_known_times(path) for path in paths]
    rate = min(film_rate(one) for one in times)
    rate /= max(1, round(rate / MOST_FPS))
    seconds = min(float(one[-1] - one[0]) for one in times)
    chosen = np.arange(1 + int(seconds * rate + 1e-3)) / rate
    views = [
        np.stack(list(_shrunk(path, one[0] + chosen, square=len(paths) > 1)))
        for path, one in zip(paths, times, strict=True)
    ]
    return (np.concatenate(views, axis=2) if len(views) > 1 else views[0]), rate


def _known_times(path: Path) -> np.ndarray:
    if not path.is_file():
        raise UserError(f"no such video: {path}")
    times = film_times(path)
    if len(times) < 2 or times[-1] <= times[0]:
        raise UserError(f"{path} has {len(times)} frame(s); a value curve needs at least two")
    return times


def _shrunk(path: Path, times: np.ndarray, square: bool) -> Iterator[np.ndarray]:
    """The pictures nearest to these times, uint8 [HEIGHT, W, 3]; however far away: a film may stand still."""
    for frame in frames_at(path, times, tolerance=np.inf):
        height, width = frame.shape[:2]
        if square:
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            frame, height, width = frame[top : top + side, left : left + side], side, side
        yield resize(frame[None], HEIGHT, 2 * max(1, round(HEIGHT * width / height / 2)))[0]
