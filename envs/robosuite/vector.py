"""Many environments at once, each in its own process, stepped by chunks of actions and drawn once a chunk."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from envs.errors import UserError, check_choice
from envs.processes import without_main
from envs.robosuite.env import PROPRIO_SIZE, STATE_SIZE, RobosuiteEnv
from envs.robosuite.scene import WORKSPACE
from envs.robosuite.tasks import ROBOTS, task_spec

ACTION_SIZE = 7


class ChunkEnv(gymnasium.Wrapper):
    """Executes a chunk of actions, float32 [execute, A] clipped to [-1, 1], between two observations.

    A chunk stops at the end of the episode; the reward is the sum over its steps. After the end, until the
    next reset, a step does nothing and gives the last observation again. `info` holds
        executed: how many of the actions were executed;
        success: whether the state is solved;
        frames: with `frame_every` = k > 0, uint8 [execute, S, S · cameras, 3], of which the first `frame_count`
            are the pictures, all cameras side by side, after those of the chunk's steps whose number in the
            episode k divides; after a reset, the first picture.
    Options of `reset`: `frame_every` replaces the one given here; `idle` = True makes every step do nothing.
    """

    def __init__(self, env: RobosuiteEnv, execute: int, frame_every: int = 0) -> None:
        super().__init__(env)
        self.world = env
        self.execute = execute
        self.frame_every = frame_every
        self._over = True
        self._steps = 0
        self._last: tuple[Any, bool, bool, bool] | None = None
        self.action_space = Box(-1.0, 1.0, (execute, ACTION_SIZE), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Start the episode of `seed`."""
        options = options or {}
        self.frame_every = options.get("frame_every", self.frame_every)
        observation, info = self.world.reset(seed=seed)
        self._steps, self._over = 0, bool(options.get("idle", False))
        self._last = observation, False, False, False
        frames = [side_by_side(observation)] if self.frame_every else []
        return observation, info | self._info(0, False, frames)

    def step(self, action: np.ndarray):
        """Execute the chunk, then observe."""
        if self._over:
            assert self._last is not None, "reset before the first step"
            observation, terminated, truncated, success = self._last
            return observation, 0.0, terminated, truncated, self._info(0, success, [])
        total, executed, frames = 0.0, 0, []
        terminated = truncated = success = False
        for row in np.clip(action, -1.0, 1.0):
            reward, success = self.world.advance(row)
            self._steps += 1
            executed += 1
            total += reward
            if self.frame_every and self._steps % self.frame_every == 0:
                frames.append(side_by_side(self.world.observe()))
            terminated = self.world.terminate_on_success and success
            truncated = self._steps >= self.world.horizon
            if terminated or truncated:
                break
        observation = self.world.observe()
        self._over = terminated or truncated
        self._last = observation, terminated, truncated, success
        return observation, total, terminated, truncated, self._info(executed, success, frames)

    def _info(self, executed: int, success: bool, frames: Sequence[np.ndarray]) -> dict[str, Any]:
        info: dict[str, Any] = {"executed": executed, "success": success}
        if self.frame_every:
            size, cameras = self.world.image_size, len(self.world.cameras)
            padded = np.zeros((self.execute, size, size * cameras, 3), np.uint8)
            padded[: len(frames)] = np.stack(frames) if frames else 0
            info |= {"frames": padded, "frame_count": len(frames)}
        return info


def side_by_side(observation: dict[str, Any]) -> np.ndarray:
    """One picture of all cameras, in their order: uint8 [S, S · cameras, 3]."""
    return np.concatenate(list(observation["images"].values()), axis=1)


class _Worker(gymnasium.Env):
    """A `ChunkEnv` whose simulator `start` builds: the process that owns the workers needs only spaces."""

    def __init__(self, settings: dict[str, Any], execute: int, frame_every: int) -> None:
        self._settings, self._execute, self._frame_every = settings, execute, frame_every
        self._env: ChunkEnv | None = None
        size = settings["image_size"]
        picture = Box(0, 255, (size, size, 3), np.uint8)
        self.observation_space = Dict(
            {
                "images": Dict({name: picture for name in settings["cameras"]}),
                "proprio": Box(-np.inf, np.inf, (PROPRIO_SIZE,), np.float32),
                "environment_state": Box(-np.inf, np.inf, (STATE_SIZE,), np.float32),
            }
        )
        self.action_space = Box(-1.0, 1.0, (execute, ACTION_SIZE), np.float32)
        self.metadata = RobosuiteEnv.metadata

    def start(self) -> str | None:
        """Build the simulator; what the user has to mend where that fails."""
        try:
            self._env = ChunkEnv(RobosuiteEnv(**self._settings), self._execute, self._frame_every)
        except UserError as error:
            return str(error)
        return None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """See `ChunkEnv`."""
        assert self._env is not None
        return self._env.reset(seed=seed, options=options)

    def step(self, action: np.ndarray):
        """See `ChunkEnv`."""
        assert self._env is not None
        return self._env.step(action)

    def close(self) -> None:
        """Free the simulator."""
        if self._env is not None:
            self._env.close()


def make_vector_env(
    task: str = "stack",
    robot: str = "Panda",
    count: int | None = None,
    execute: int = 8,
    frame_every: int = 0,
    cameras: Sequence[str] = (WORKSPACE, "wrist"),
    image_size: int = 64,
    horizon: int | None = None,
    terminate_on_success: bool = True,
) -> AsyncVectorEnv:
    """`count` (default: one a CPU core) `ChunkEnv`s in processes of their own, observations in shared memory.

    Finished environments wait for their next reset: `reset(seed=[…], options={"reset_mask": bool [count]})`.

    Raises:
        UserError: unknown task, robot or camera, fewer than one environment or action, or no EGL.
    """
    task_spec(task)
    check_choice("robot", robot, ROBOTS)
    count = (os.cpu_count() or 1) if count is None else count
    for name, number in {"workers": count, "execute": execute}.items():
        if number < 1:
            raise UserError(f"{name} is {number}; it must be at least 1")
    settings = {
        "task": task,
        "robot": robot,
        "cameras": tuple(cameras),
        "image_size": image_size,
        "horizon": horizon,
        "terminate_on_success": terminate_on_success,
    }
    multiprocessing.set_forkserver_preload(["envs.robosuite.vector"])  # imported once, then forked
    with without_main():
        vector = AsyncVectorEnv(
            [partial(_Worker, settings, execute, frame_every)] * count,
            shared_memory=True,
            context="forkserver",
            autoreset_mode=AutoresetMode.DISABLED,
        )
    errors = [error for error in vector.call("start") if error]
    if errors:
        vector.close()
        raise UserError(errors[0])
    return vector
