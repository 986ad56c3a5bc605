"""A scene whose dynamics are known: the action pushes a square; its place is the proprioception."""

from __future__ import annotations

import dataclasses

import numpy as np

from envs.types import Episode
from value_model.imagination.config import HandConfig, ImaginationConfig, SolvedConfig, UnrollConfig
from value_model.video.config import OptimConfig, TokenizerConfig, VideoConfig

SPEED = 3.0  # pixels a control step at a full action

MICRO = ImaginationConfig(
    cameras=("workspace",),
    action_dim=2,
    proprio_dim=2,
    tokenizer=TokenizerConfig(
        image_size=32, width=16, channels=4, updates=150, batch=32, frames=1024, motion_weight=4.0
    ),
    video=VideoConfig(
        layers=2, width=64, heads=2, feedforward=128, patch=(1, 1, 1), text_width=16, time_width=16
    ),
    hand=HandConfig(width=64, layers=2),
    solved=SolvedConfig(width=32, updates=150, batch=32),
    unroll=UnrollConfig(steps=3, updates=100),
    optim=OptimConfig(
        updates=250, batch=32, learning_rate=2e-3, warmup=20, updates_per_dispatch=25, checkpoint_every=100
    ),
)

# For pictures that show nothing: sixteen places instead of 64, and one layer.
BARE = dataclasses.replace(
    MICRO,
    tokenizer=dataclasses.replace(MICRO.tokenizer, image_size=16),
    video=dataclasses.replace(MICRO.video, layers=1),
    optim=dataclasses.replace(MICRO.optim, batch=16),
)


def push(seed: int, length: int = 40, solved_from: float = 20.0) -> Episode:
    """One episode of random pushes, which change every few steps."""
    random = np.random.default_rng(seed)
    actions = np.repeat(random.uniform(-1, 1, (length // 5 + 1, 2)), 5, axis=0)[:length].astype(np.float32)
    place, places = random.uniform(4, 28, 2), []
    for action in actions:
        places.append(place)
        place = moved(place, action)
    after = np.array([*places[1:], place])
    return Episode(
        images={"workspace": np.stack([drawn(one) for one in places])},
        proprio=np.array(places, np.float32),
        actions=actions,
        rewards=(after[:, 1] > solved_from).astype(np.float32),
        environment_state=np.zeros((length, 0), np.float32),
        success=bool(after[-1, 1] > solved_from),
        task="push",
        instruction="push the red square to the right",
        robot="none",
        seed=seed,
        fps=20.0,
    )


def moved(place: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Row and column after an action."""
    return np.clip(place + SPEED * action / 2, 4, 28)


def drawn(place: np.ndarray) -> np.ndarray:
    """uint8 [32, 32, 3]: a red square of 8 pixels on grey, green at the goal."""
    frame = np.full((32, 32, 3), 60, np.uint8)
    row, column = (round(x) for x in place)
    frame[max(row - 4, 0) : row + 4, max(column - 4, 0) : column + 4] = (220, 20, 20)
    return frame
