"""What an environment is: many rows at once, acted in by chunks of actions.

Whatever keeps this contract can be trained in, evaluated in and recorded: robosuite, a Gymnasium environment, a world
model. `envs.check.check_envs` tells what is wrong with one.

Dimension letters: N rows, K control steps of a chunk, A action, P proprioception, S privileged state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium.spaces import Box, Dict


@dataclass(frozen=True)
class EnvSpec:
    """What a policy sees of an environment, and does in it.

    cameras: {name: (height, width)} of its pictures; proprio_dim, state_dim: of the other parts of an observation;
    action_low, action_high: what an action of -1 and of 1 stands for, in the environment's own units, one number an
    axis; control_rate: control steps a second; horizon: control steps after which an episode is cut;
    instruction: what a policy is told where a `Start` says nothing;
    any_start: whether an episode can begin from any picture, not from a seed alone;
    stride: control steps from one moment that it can show to the next; chunks and horizon are multiples of it;
    seen: {digest of a policy's eyes: numbers D} of what it gives instead of making that policy look at pictures.
    """

    cameras: Mapping[str, tuple[int, int]]
    proprio_dim: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    control_rate: float
    horizon: int
    instruction: str
    state_dim: int = 0
    any_start: bool = False
    stride: int = 1
    seen: Mapping[str, int] = field(default_factory=dict)

    @property
    def action_dim(self) -> int:
        """Numbers of an action."""
        return len(self.action_low)

    @property
    def observation_space(self) -> Dict:
        """Of one row."""
        pictures = {name: Box(0, 255, (*size, 3), np.uint8) for name, size in self.cameras.items()}
        numbers = {"proprio": self.proprio_dim, "environment_state": self.state_dim}
        parts = {"images": Dict(pictures)} | {name: _numbers(size) for name, size in numbers.items()}
        if self.seen:
            parts["seen"] = Dict({eyes: _numbers(size) for eyes, size in self.seen.items()})
        return Dict(parts)

    def blank(self) -> dict[str, Any]:
        """An observation of one row in which nothing is seen: zeros."""
        parts = {
            "images": {name: np.zeros((*size, 3), np.uint8) for name, size in self.cameras.items()},
            "proprio": np.zeros(self.proprio_dim, np.float32),
            "environment_state": np.zeros(self.state_dim, np.float32),
        }
        if self.seen:
            parts["seen"] = {eyes: np.zeros(size, np.float32) for eyes, size in self.seen.items()}
        return parts

    def chunk_space(self, steps: int) -> Box:
        """Of one row's chunk of `steps` actions."""
        return Box(-1.0, 1.0, (steps, self.action_dim), np.float32)


def _numbers(size: int) -> Box:
    return Box(-np.inf, np.inf, (size,), np.float32)


@dataclass(frozen=True)
class Start:
    """Where an episode begins.

    seed: draws the first state, 0 or more; instruction: what the policy is told, None for the environment's own;
    images: {camera: uint8 [H, W, 3]} and proprio: float32 [P], to begin from, where the environment has `any_start`.
    """

    seed: int
    instruction: str | None = None
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    proprio: np.ndarray | None = None


@runtime_checkable
class ChunkEnvs(Protocol):
    """A `gymnasium.vector.VectorEnv` with autoreset disabled, whose action is a chunk of control actions.

    An observation is a dict: images {camera: uint8 [N, H, W, 3]}, any mapping, proprio float32 [N, P], environment_state
    float32 [N, S] and, where `env_spec.seen` names eyes, seen {digest of the eyes: float32 [N, D]}. Rows that were
    never reset do nothing and show zeros.
    """

    env_spec: EnvSpec
    num_envs: int
    execute: int  # K
    closed: bool

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episodes of some rows. The same seed gives the same episode, whatever went before.

        Args:
            seed: of each row, a list of N.
            options: reset_mask bool [N], the rows that begin; film int [N], every how many control steps a row is
                filmed, 0 for not at all; starts, a list of N `Start`, where the environment has `any_start`; follows
                bool [N], rows whose episode may begin where the one before it ended, if the environment can bring its
                scene back itself: then its seed does not decide how it begins, and info says in `by_hand` bool [N]
                whether that failed, so that it was begun anew.
        """
        ...

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Execute a chunk, float32 [N, K, A] clipped to [-1, 1], in every row; a chunk stops where its episode ends.

        A row whose episode is over does nothing until it is reset, and shows its last observation.

        Returns:
            the observation; the reward [N], summed over the executed steps; terminated, truncated bool [N]; and
            info, by Gymnasium's custom with a mask `_name` beside each `name` that says in which rows it is there:
                executed int [N]: how many actions of the chunk were executed;
                rewards float32 [N, K]: of each step, 0 where none was executed;
                success bool [N]: whether the task is solved; absent where that is not known;
                film: what a row with film = k > 0 showed after those of its steps whose number in the episode k (and
                the environment's `stride`) divides and, always, after its last: count int [N], step int [N, K], and
                images, proprio, environment_state, as an observation's but [N, K, ...], of which the first `count`
                hold. After a reset, the first observation, as step 0.
        """
        ...

    def close(self, **kwargs: Any) -> None:
        """Free everything; may be called twice."""
        ...
