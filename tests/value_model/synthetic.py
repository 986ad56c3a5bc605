"""Episodes whose progress is plain to see: a red square slides over the picture to a green one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from envs.store import Store, open_store, write_store
from envs.types import Episode, Segment, Style
from value_model.critic.config import ClipConfig, ValueConfig, WVMConfig
from value_model.critic.metrics.episodes import true_progress
from value_model.video.config import OptimConfig, TokenizerConfig, VideoConfig

MICRO = WVMConfig(
    cameras=("workspace",),
    tokenizer=TokenizerConfig(width=8, channels=4, updates=40, batch=16, frames=256),
    video=VideoConfig(layers=2, width=32, heads=2, feedforward=64, text_width=16, time_width=16),
    value=ValueConfig(width=16, heads=2, feedforward=32),
    clip=ClipConfig(fps=5.0),
    optim=OptimConfig(updates=40, batch=16, warmup=5, updates_per_dispatch=10, checkpoint_every=20),
)


def slide(seed: int, length: int = 40, style: Style = "clean", segments: tuple[Segment, ...] = ()) -> Episode:
    """One episode; its square stands where `true_progress` says."""
    random = np.random.default_rng(seed)
    start, goal = random.uniform(4, 16, 2), random.uniform(44, 56, 2)
    frames = np.full((length, 64, 64, 3), 60, np.uint8)
    for frame, progress in zip(frames, true_progress(length, segments), strict=True):
        for (row, column), colour in (
            (goal, (20, 200, 20)),
            (start + (goal - start) * progress, (220, 20, 20)),
        ):
            frame[int(row) - 4 : int(row) + 4, int(column) - 4 : int(column) + 4] = colour
    nothing = np.zeros((length, 0), np.float32)
    return Episode(
        images={"workspace": frames},
        proprio=np.zeros((length, 2), np.float32),
        actions=np.zeros((length, 2), np.float32),
        rewards=np.zeros(length, np.float32),
        environment_state=nothing,
        success=True,
        task="slide",
        instruction="slide the red square onto the green one",
        robot="none",
        seed=seed,
        fps=20.0,
        style=style,
        segments=segments,
    )


def slides(folder: Path, lengths: Sequence[int]) -> Store:
    """A data set of `slide`s of these lengths, with seeds 0, 1, ..."""
    return open_store(write_store(folder, [slide(seed, length) for seed, length in enumerate(lengths)]))
