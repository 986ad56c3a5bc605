"""Pictures put together, and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from envs.files import atomic_file


def stacked(pictures: Sequence[np.ndarray], gap: int = 0) -> np.ndarray:
    """Pictures uint8 [H, W, 3] one below the other: black right of the narrower ones, and in `gap` rows after each."""
    wide = max(picture.shape[1] for picture in pictures)
    padded = [np.pad(one, ((0, gap), (0, wide - one.shape[1]), (0, 0))) for one in pictures]
    return np.concatenate(padded)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture uint8 [H, W, 3], atomically."""
    with atomic_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="png")
