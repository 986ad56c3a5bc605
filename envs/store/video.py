"""Frames into mp4 files: several episodes a file, each of which starts with a key frame; `envs.films` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream

from envs.errors import UserError


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
