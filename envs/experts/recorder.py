"""Steps an environment and keeps every frame: what was seen, done and earned."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.robosuite.env import RobosuiteEnv
from envs.types import Episode, Segment


class Recorder:
    """The episode of `seed`, as far as it has gone.

    Attributes:
        segments: suboptimal stretches so far; `solved`: the last action ended in a solved state.
    """

    def __init__(self, env: RobosuiteEnv, seed: int):
        self._seen, info = env.reset(seed=seed)
        self.env, self.seed, self.instruction = env, seed, info["instruction"]
        self.segments: list[Segment] = []
        self.solved = False
        self._observations: list[Mapping] = []
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []

    def __len__(self) -> int:
        """Frames so far."""
        return len(self._actions)

    def step(self, action: np.ndarray) -> None:
        """Execute and record an action: float32 [7] in [-1, 1]."""
        self._observations.append(self._seen if self._seen is not None else self.env.observe())
        self._seen = None
        reward, self.solved = self.env.advance(action)
        self._actions.append(action)
        self._rewards.append(reward)

    def episode(self, style: str) -> Episode:
        """Everything recorded; it succeeded if its last frame earned a reward."""
        seen = self._observations
        return Episode(
            images={
                camera: np.stack([frame["images"][camera] for frame in seen]) for camera in seen[0]["images"]
            },
            proprio=np.stack([frame["proprio"] for frame in seen]),
            actions=np.stack(self._actions),
            rewards=np.array(self._rewards, np.float32),
            environment_state=np.stack([frame["environment_state"] for frame in seen]),
            success=self._rewards[-1] > 0,
            task=self.env.task,
            instruction=self.instruction,
            robot=self.env.robot,
            seed=self.seed,
            fps=float(self.env.metadata["render_fps"]),
            style=style,
            segments=tuple(self.segments),
        )
