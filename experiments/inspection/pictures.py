"""An episode's film as one picture: a row of tiles for each camera, as large as its share of a page allows."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from value_model.video.frames import resize

WIDEST = 16_000  # pixels; WebP ends at 16,383


@dataclass(frozen=True)
class Level:
    """How large a film is drawn: at most `tiles` of `height` pixels, with WebP's `quality`."""

    tiles: int
    height: int
    quality: int


LEVELS = (
    Level(60, 144, 80),
    Level(48, 112, 75),
    Level(36, 96, 70),
    Level(24, 80, 65),
    Level(16, 64, 60),
    Level(10, 56, 50),
    Level(6, 48, 40),
    Level(4, 32, 30),
)


@dataclass(frozen=True)
class Sheet:
    """A film as one picture.

    uri: a `data:` address; frames: which frames the tiles are of; cameras: name, width and height of the tiles of each row.
    """

    uri: str
    frames: list[int]
    cameras: list[tuple[str, int, int]]

    def json(self) -> dict[str, Any]:
        """As the page reads it."""
        rows = [{"name": name, "width": width, "height": height} for name, width, height in self.cameras]
        return {"uri": self.uri, "frames": self.frames, "cameras": rows}


class Sheets:
    """Films of a page whose pictures take `total` bytes at most: each of `count` episodes its share of what is left."""

    def __init__(self, total: int, count: int) -> None:
        self._left, self._episodes, self._level = total, count, 0

    def draw(self, images: Mapping[str, np.ndarray]) -> Sheet | None:
        """The film of the next episode, {camera: uint8 [T, H, W, 3]}; None where it has no picture or no room for one."""
        share = self._left / max(self._episodes, 1)
        self._episodes -= 1
        while images and self._level < len(LEVELS):
            sheet = draw_sheet(images, LEVELS[self._level])
            if len(sheet.uri) <= share:
                self._left -= len(sheet.uri)
                return sheet
            self._level += 1
        return None


def draw_sheet(images: Mapping[str, np.ndarray], level: Level) -> Sheet:
    """All cameras of an episode, {name: uint8 [T, H, W, 3]}, a row each; no tile is larger than its picture."""
    length = min(len(frames) for frames in images.values())
    rows = []
    sizes = {}
    for name, frames in images.items():
        height = min(level.height, frames.shape[1])
        sizes[name] = height, max(1, round(frames.shape[2] * height / frames.shape[1]))
    widest = max(width for _, width in sizes.values())
    count = max(1, min(level.tiles, length, WIDEST // widest))
    chosen = np.unique(np.linspace(0, length - 1, count).round().astype(int))
    for name, frames in images.items():
        row = np.concatenate(list(resize(frames[chosen], *sizes[name])), axis=1)
        rows.append(np.pad(row, ((0, 0), (0, len(chosen) * widest - row.shape[1]), (0, 0))))
    cameras = [(name, width, height) for name, (height, width) in sizes.items()]
    return Sheet(picture_uri(np.concatenate(rows), level.quality), chosen.tolist(), cameras)


def picture_uri(picture: np.ndarray, quality: int) -> str:
    """A picture uint8 [H, W, 3] as a `data:` address."""
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, "WEBP", quality=quality, method=2)
    return f"data:image/webp;base64,{base64.b64encode(sink.getvalue()).decode()}"
