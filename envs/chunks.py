"""Environments that run one episode at a time, many side by side in processes of their own, stepped by chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.processes import forks, without_main

Shown = dict[str, Any]
"""An observation of one row: images {camera: uint8 [H, W, 3]}, proprio float32 [P], environment_state float32 [S]."""


class World(Protocol):
    """One episode at a time, a control step at a time: what `ChunkEnv` makes an environment of."""

    def begin(self, seed: int) -> Shown:
        """Start the episode of `seed`: its first observation."""
        ...

    def advance(self, action: np.ndarray) -> tuple[float, bool | None, bool]:
        """Execute one action [A] in [-1, 1]: the reward, whether the task is solved (None: unknown), whether it ends."""
        ...

    def observe(self) -> Shown:
        """What is to be seen now."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


@runtime_checkable
class SelfResetting(World, Protocol):
    """A world that can begin an episode where the one before it ended."""

    def go_on(self, seed: int) -> tuple[Shown, bool]:
        """Bring the scene back without a reset; where that does not work, start the episode of `seed`.

        Returns:
            the first observation, and whether the episode was started by hand: that of `seed`.
        """
        ...


class ChunkEnv(gymnasium.Env):
    """One row of a `ChunkEnvs`: number `row` of it, in a world that `make` builds in `build`.

    The process that owns the rows makes one for its spaces alone: until `build` is called there is no world.
    """

    render_mode = None

    def __init__(self, make: Callable[[], World], spec: EnvSpec, execute: int, row: int) -> None:
        self.env_spec, self.execute, self._row, self._make = spec, execute, row, make
        self.observation_space = spec.observation_space
        self.action_space = spec.chunk_space(execute)
        self.metadata = {"render_modes": [], "render_fps": spec.control_rate}
        self._world: World | None = None
        self._film_every = self._steps = 0
        self._over = True
        self._ended = (False, False)  # terminated, truncated
        self._success: bool | None = None
        self._last = spec.blank()

    def build(self) -> str | None:
        """Build the world; what the user has to mend where that fails."""
        try:
            self._world = self._make()
        except UserError as error:
            return str(error)
        return None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """See `ChunkEnvs.reset`."""
        assert self._world is not None and seed is not None
        options = options or {}
        self._film_every = int(options.get("film", {self._row: 0})[self._row])
        by_hand = None
        if options.get("follows", {self._row: False})[self._row] and isinstance(self._world, SelfResetting):
            self._last, by_hand = self._world.go_on(seed)
        else:
            self._last = self._world.begin(seed)
        self._steps, self._over, self._ended, self._success = 0, False, (False, False), None
        film = [(0, self._last)] if self._film_every else []
        return self._last, self._info([], film) | ({} if by_hand is None else {"by_hand": by_hand})

    def step(self, action: np.ndarray):
        """See `ChunkEnvs.step`."""
        if self._over:
            return self._last, 0.0, *self._ended, self._info([], [])
        assert self._world is not None
        rewards: list[float] = []
        film: list[tuple[int, Shown]] = []
        for number, row in enumerate(np.clip(action, -1.0, 1.0), start=1):
            reward, self._success, ended = self._world.advance(row)
            self._steps += 1
            rewards.append(reward)
            self._ended = ended, self._steps >= self.env_spec.horizon
            self._over = any(self._ended)
            due = self._film_every and (self._steps % self._film_every == 0 or self._over)
            if due or self._over or number == self.execute:
                self._last = self._world.observe()
            if due:
                film.append((self._steps, self._last))
            if self._over:
                break
        return self._last, float(np.sum(rewards)), *self._ended, self._info(rewards, film)

    def close(self) -> None:
        """Free the world."""
        if self._world is not None:
            self._world.close()

    def _info(self, rewards: list[float], film: list[tuple[int, Shown]]) -> dict[str, Any]:
        padded = np.zeros(self.execute, np.float32)
        padded[: len(rewards)] = rewards
        info: dict[str, Any] = {"executed": len(rewards), "rewards": padded}
        if self._success is not None:
            info["success"] = self._success
        if film:
            steps = np.zeros(self.execute, np.int64)
            steps[: len(film)] = [step for step, _ in film]
            shown = _stacked([shown for _, shown in film], self.execute)
            info["film"] = {"count": len(film), "step": steps, **shown}
        return info


def require_some(**counts: int) -> None:
    """Raise a `UserError` where one of these numbers is below 1."""
    for name, number in counts.items():
        if number < 1:
            raise UserError(f"{name} is {number}; it must be at least 1")


class ProcessEnvs(AsyncVectorEnv):
    """A `ChunkEnvs` of `count` worlds, each in a process of its own; observations come back in shared memory.

    Args:
        make: builds a world, in its process: picklable.
        execute: K.
        preload: modules that are imported once, before the processes are forked from it.

    Raises:
        UserError: fewer than one row or action, or a world cannot be built.
    """

    def __init__(
        self,
        make: Callable[[], World],
        spec: EnvSpec,
        count: int,
        execute: int,
        preload: tuple[str, ...] = (),
    ) -> None:
        require_some(workers=count, execute=execute)
        self.env_spec, self.execute = spec, execute
        forks("envs.chunks", *preload)
        with without_main():
            super().__init__(
                [partial(ChunkEnv, make, spec, execute, row) for row in range(count)],
                shared_memory=True,
                context="forkserver",
                autoreset_mode=AutoresetMode.DISABLED,
            )
        errors = [error for error in self.call("build") if error]
        if errors:
            self.close()
            raise UserError(errors[0])


def _stacked(shown: list[Shown], count: int) -> Shown:
    """Observations [count, ...], zeros after the last."""
    first = shown[0]
    return {
        name: _stacked([one[name] for one in shown], count)
        if isinstance(first[name], Mapping)
        else np.stack([*(one[name] for one in shown), *[np.zeros_like(first[name])] * (count - len(shown))])
        for name in first
    }
