"""Which frames a clip for Wan's VAE shows: forwards, standing still or played backwards, drawn before encoding.

The VAE's latents mix four frames in time, so a clip must be rewound as pixels: each window is encoded in the variant, or
the few variants, that a seed drew for it (ReWiND, arXiv 2505.10911; shares as in `ClipConfig`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from value_model.critic.config import ClipConfig

FORWARD, STILL, BACKWARD = 0, 1, 2


class Window(NamedTuple):
    """A clip of an episode: its current frames begin at `start`, counted from the end if it is played backwards."""

    episode: int
    start: int
    mode: int


def starts(length: int, horizon: int, stride: int, every: int) -> range:
    """Where the windows of an episode begin: every `every` frames, as long as all current frames are inside."""
    return range(0, max(length - (horizon - 1) * stride, 1), every)


def draw_windows(
    episode: int, length: int, clip: ClipConfig, stride: int, every: int, variants: int, seed: int
) -> list[Window]:
    """The windows of one episode with the modes that (seed, episode) draws, `variants` of each."""
    random = np.random.default_rng([seed, episode])
    shares = (1 - clip.rewind, clip.plateau, clip.rewind - clip.plateau)
    return [
        Window(episode, start, int(random.choice(3, p=shares)))
        for start in starts(length, clip.horizon, stride, every)
        for _ in range(variants)
    ]


def window_frames(window: Window, length: int, horizon: int, stride: int, chunks: int = 2) -> np.ndarray:
    """Indices [1 + chunks · h] of the frames of a window: prefix, current and future ones.

    The prefix may lie one stride before the first frame of the episode and the future beyond its last, where the first
    and last frame stand for them.
    """
    offsets = (np.arange(1 + chunks * horizon) - 1) * (0 if window.mode == STILL else stride)
    frames = np.clip(window.start + offsets, 0, length - 1)
    return length - 1 - frames if window.mode == BACKWARD else frames
