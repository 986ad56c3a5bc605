"""Frames into mp4 files and back: several episodes a file, each of which starts with a key frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from envs.errors import UserError

SMALL = 200 * 200  # frames with fewer pixels decode faster on one thread


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg. `pixel_format` is what it is given, `stored` what `info.json` names."""

    encoder: str
    name: str
    pixel_format: str
    stored: str
    options: dict[str, str]
    lossless: bool


CODECS: dict[str, Codec] = {
    "h264_lossless": Codec(
        "libx264rgb",
        "h264",
        "bgr24",
        "gbrp",
        {"qp": "0", "preset": "ultrafast", "tune": "zerolatency", "g": "40", "forced-idr": "1"},
        lossless=True,
    ),
    "h264": Codec(
        "libx264",
        "h264",
        "yuv420p",
        "yuv420p",
        {"crf": "18", "preset": "veryfast", "g": "20", "bf": "0", "forced-idr": "1"},
        lossless=False,
    ),
}


def find_codec(name: str) -> Codec:
    """The codec of that name.

    Raises:
        UserError: there is none.
    """
    if name not in CODECS:
        raise UserError(f"unknown video codec {name!r}; choose one of {', '.join(CODECS)}")
    return CODECS[name]


class VideoWriter:
    """One mp4 file being written; frame n is shown at n / fps seconds. `size`: bytes so far."""

    def __init__(self, path: Path, codec: Codec, fps: float, height: int, width: int) -> None:
        if not codec.lossless and (height % 2 or width % 2):
            raise UserError(
                f"the lossy video codecs need an even height and width, not {height}x{width}; "
                "use codec=h264_lossless or another image size"
            )
        self.path = path
        self.frames = self.size = 0
        self.rate = Fraction(fps).limit_denominator(100_000)
        self._container = av.open(str(path), "w", format="mp4")
        stream = self._container.add_stream(codec.encoder, rate=self.rate, options=codec.options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = width, height
        stream.pix_fmt = codec.pixel_format
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = 1 / self.rate
        self._stream = stream

    def add(self, frames: np.ndarray) -> tuple[float, float]:
        """Append uint8 [T, H, W, 3], starting with a key frame; their start and end in seconds."""
        start = self.frames
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = self.frames, 1 / self.rate
            if self.frames == start:
                frame.pict_type = PictureType.I
            self._mux(frame)
            self.frames += 1
        return float(start / self.rate), float(self.frames / self.rate)

    def close(self) -> None:
        """Write what is still in the encoder, and the table of contents."""
        self._mux(None)
        self._container.close()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self.size += packet.size
            self._container.mux(packet)


def decode(path: Path, start: float, count: int, fps: float) -> np.ndarray:
    """`count` frames of a video from time `start` (seconds) on: uint8 [count, H, W, 3].

    Raises:
        UserError: the file is missing, damaged, too short, or its frames do not stand at start + n / fps.
    """
    frames: np.ndarray | None = None
    found = 0
    try:
        for time, pixels in _frames_from(path, start - 0.5 / fps):
            if frames is None:
                frames = np.empty((count, *pixels.shape), np.uint8)
            if abs(time - start - found / fps) > 0.5 / fps:
                raise UserError(
                    f"{path}: the frame due at {start + found / fps:.3f} s stands at {time:.3f} s; "
                    "the video does not match its episodes, download or record it again"
                )
            frames[found] = pixels
            found += 1
            if found == count:
                return frames
    except (FFmpegError, OSError) as error:
        raise broken_video(path, error) from error
    raise UserError(
        f"{path} ends after {found} of the {count} frames from {start:.3f} s on; download or record it again"
    )


def broken_video(path: Path, error: Exception) -> UserError:
    """What to say of a video that cannot be opened or decoded."""
    if not path.is_file():
        return UserError(f"missing video {path}; download it again, or drop its camera from meta/info.json")
    reason = getattr(error, "strerror", None) or error
    return UserError(f"{path} is not a whole video ({reason}); download or record it again")


def check_video(path: Path, end: float, fps: float) -> None:
    """Refuse a video that is missing, damaged or ends before `end` seconds.

    Raises:
        UserError: with the file's name and what to do.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path} holds no video; download or record it again")
            length = float(container.duration or 0) / av.time_base
    except (FFmpegError, OSError) as error:
        raise broken_video(path, error) from error
    if length < end - 1.5 / fps:
        raise UserError(
            f"{path} lasts {length:.2f} s but its episodes need {end:.2f} s; download or record it again"
        )


def _frames_from(path: Path, start: float) -> Iterator[tuple[float, np.ndarray]]:
    """(time in seconds, uint8 [H, W, 3]) of each frame that is shown at `start` or later."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        if stream.width * stream.height < SMALL:
            stream.codec_context.thread_count = 1
        else:
            stream.thread_type = "AUTO"
        if start > 0:
            container.seek(int(start / stream.time_base), stream=stream, backward=True)
        reformatter = VideoReformatter()
        for frame in container.decode(stream):
            assert frame.time is not None
            if frame.time >= start:
                yield frame.time, _pixels(frame, reformatter)


def _pixels(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """RGB uint8 [H, W, 3]. Lossless files hold planar RGB: no conversion, twenty times as fast."""
    if frame.format.name == "gbrp":
        return frame.to_ndarray()
    return reformatter.reformat(frame, format="rgb24").to_ndarray()
