"""Video files read by what they say themselves: each picture at its time stamp, and upright.

A container's frame rate is only a hint, and phones write a display matrix and leave the picture on its side; both are
settled here, for every reader of videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from envs.errors import UserError

SMALL = 200 * 200  # frames with fewer pixels decode faster on one thread
DEPTH_BITS = 8  # a single channel with more bits a pixel is no colour picture


@dataclass(frozen=True)
class Film:
    """What is known of a video file before its pictures are decoded.

    size: (height, width) of the upright picture, as the container says; seconds: its length; depth: whether it holds
    one channel of more than eight bits.
    """

    size: tuple[int, int]
    seconds: float
    depth: bool


def film_info(path: Path) -> Film:
    """What a video file says of itself.

    Raises:
        UserError: it is missing, damaged, or holds no video.
    """
    with _opened(path) as (container, stream):
        components = stream.codec_context.format.components if stream.codec_context.format else ()
        depth = len(components) == 1 and components[0].bits > DEPTH_BITS
        length = float(container.duration or 0) / av.time_base
        return Film((stream.height, stream.width), length, depth)


def film_times(path: Path) -> np.ndarray:
    """The time of every picture of a video file, float64 [T] in seconds, rising; nothing is decoded.

    Raises:
        UserError: it is missing, damaged, or holds no video.
    """
    with _opened(path) as (container, stream):
        packets = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
        assert stream.time_base is not None
        return np.sort(np.array(packets, np.float64)) * float(stream.time_base)


def film_rate(times: np.ndarray) -> float:
    """Pictures a second, from the median step between their times [T] (T ≥ 2)."""
    return float(1 / np.median(np.diff(times)))


def frames_at(path: Path, times: np.ndarray, tolerance: float) -> Iterator[np.ndarray]:
    """The picture nearest to each of `times` (seconds, rising): uint8 [H, W, 3], upright, one at a time.

    Args:
        tolerance: seconds that a picture may stand away from the time that it is wanted for.

    Raises:
        UserError: the file is missing, damaged, too short, or no picture stands near one of the times.
    """
    wanted, given = iter(times.tolist()), 0
    due = next(wanted, None)
    before: _Picture | None = None
    try:
        for picture in _pictures(path, float(times[0]) - tolerance if len(times) else 0.0):
            while due is not None and before is not None and due - before.time <= picture.time - due:
                yield _near(before, due, tolerance, path)
                due, given = next(wanted, None), given + 1
            before = picture
            if due is None:
                return
        while due is not None and before is not None and abs(before.time - due) <= tolerance:
            yield _near(before, due, tolerance, path)
            due, given = next(wanted, None), given + 1
    except (FFmpegError, OSError) as error:  # pixels are made here
        raise broken_video(path, error) from error
    if due is not None:
        raise UserError(
            f"{path} ends after {given} of the {len(times)} frames from {times[0]:.3f} s on; "
            "download or record it again"
        )


def broken_video(path: Path, error: Exception) -> UserError:
    """What to say of a video that cannot be opened or decoded."""
    if not path.is_file():
        return UserError(f"missing video {path}; download it again, or leave out its episodes or its camera")
    reason = getattr(error, "strerror", None) or error
    return UserError(f"{path} is not a whole video ({reason}); download or record it again")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video file and its first track of pictures."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(
                    f"{path} holds no video; give a video file, or download or record this one again"
                )
            yield container, container.streams.video[0]
    except (FFmpegError, OSError) as error:
        raise broken_video(path, error) from error


class _Picture:
    """A decoded frame, whose pixels are made when they are asked for, once."""

    def __init__(self, frame: av.VideoFrame, reformatter: VideoReformatter) -> None:
        assert frame.time is not None
        self.time = frame.time
        self._frame, self._reformatter = frame, reformatter
        self._pixels: np.ndarray | None = None

    def pixels(self) -> np.ndarray:
        """RGB uint8 [H, W, 3]. Lossless files hold planar RGB: no conversion, twenty times as fast."""
        if self._pixels is None:
            if self._frame.format.name == "gbrp":
                pixels = self._frame.to_ndarray()
            else:
                pixels = self._reformatter.reformat(self._frame, format="rgb24").to_ndarray()
            self._pixels = _upright(pixels, self._frame)
        return self._pixels


def _near(picture: _Picture, due: float, tolerance: float, path: Path) -> np.ndarray:
    if abs(picture.time - due) > tolerance:
        raise UserError(
            f"{path}: the frame due at {due:.3f} s stands at {picture.time:.3f} s; "
            "the video does not match its episodes, download or record it again"
        )
    return picture.pixels()


def _upright(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """A picture as its display matrix shows it: turned by quarters, mirrored, or as it is.

    The matrix takes column p and row q to (a p + c q, b p + d q).
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5]
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _pictures(path: Path, start: float) -> Iterator[_Picture]:
    """The frames of a video that are shown at `start` seconds or later, in order."""
    with _opened(path) as (container, stream):
        assert stream.time_base is not None
        if stream.width * stream.height < SMALL:
            stream.codec_context.thread_count = 1
        else:
            stream.thread_type = "AUTO"
        if start > 0:
            container.seek(int(start / stream.time_base), stream=stream, backward=True)
        reformatter = VideoReformatter()
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= start:
                yield _Picture(frame, reformatter)
