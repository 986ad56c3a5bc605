"""Differently shifted copies of pictures, made before a frozen encoder reads them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from envs.types import Observation


def shifted(observation: Observation, seed: int | tuple[int, ...], pixels: int = 3) -> Observation:
    """Every picture shifted by its own random offset, up to ± `pixels` in both directions, edges
    repeated.
    """
    rng = np.random.default_rng(seed)
    images = {camera: _shift(frames, rng, pixels) for camera, frames in sorted(observation.images.items())}
    return replace(observation, images=images, seen={})


def _shift(frames: np.ndarray, rng: np.random.Generator, pixels: int) -> np.ndarray:
    count, height, width, _ = frames.shape
    padded = np.pad(frames, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
    moved = np.empty_like(frames)
    for index, (row, column) in enumerate(rng.integers(0, 2 * pixels + 1, (count, 2))):
        moved[index] = padded[index, row : row + height, column : column + width]
    return moved
