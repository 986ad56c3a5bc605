"""A world model as an environment: many imagined worlds, stepped together on the device.

Dimension letters: N worlds, K control steps of a chunk, M moments that a chunk passes through (K / stride), A action, P
proprioception, h and w latent height and width, C channels.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.contract import EnvSpec, Start
from envs.errors import UserError
from envs.text import word_ids
from value_model.imagination.first_states import first_states
from value_model.imagination.starts import StartBank
from value_model.imagination.world_model import WorldModel
from value_model.imagination.worlds import Worlds

BLOCK = 64  # worlds that are stepped together: the states of more no longer fit a CPU's cache


class ImaginedEnvs(VectorEnv):
    """A `ChunkEnvs` over a world model.

    An episode begins as its `Start` says: from its pictures, or where it has none from the one of the `bank` that its
    seed draws. What a world draws follows from the seed of its start, so that the members of a group see the same noise.
    It is solved once the world model says so at `hold` moments in a row, not before `minimum` control steps.
    """

    def __init__(
        self,
        world: WorldModel,
        spec: EnvSpec,
        bank: StartBank,
        worlds: int = BLOCK,
        execute: int = 4,
        minimum: int = 8,
        hold: int = 1,
    ) -> None:
        """See the class.

        Args:
            spec: of the world model (`WorldModel.spec`), perhaps with another horizon.
            worlds: N.
            execute: K.

        Raises:
            UserError: no world, or steps that the model's stride does not divide.
        """
        if worlds < 1:
            raise UserError(f"env.worlds={worlds} must be at least 1")
        for name, steps in {"execute": execute, "the horizon": spec.horizon}.items():
            if steps < 1 or steps % spec.stride:
                raise UserError(
                    f"{name} is {steps}, but the world model goes {spec.stride} control steps at a time: take a multiple"
                )
        self.env_spec, self.num_envs, self.execute = spec, worlds, execute
        self.single_observation_space = spec.observation_space
        self.single_action_space = spec.chunk_space(execute)
        self.observation_space = batch_space(self.single_observation_space, worlds)
        self.action_space = batch_space(self.single_action_space, worlds)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_fps": spec.control_rate}
        self._world, self._bank, self._minimum, self._hold = world, bank, minimum, hold
        self._blocks = [
            (slice(first, first + BLOCK), Worlds(world, min(BLOCK, worlds - first)))
            for first in range(0, worlds, BLOCK)
        ]
        self._film, self._steps, self._held = (np.zeros(worlds, np.int64) for _ in range(3))
        self._seeds = np.zeros(worlds, np.int64)
        self._over, self._solved = np.ones(worlds, bool), np.zeros(worlds, bool)
        self._shown = jax.tree.map(lambda part: np.stack([part] * worlds), spec.blank())

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `ChunkEnvs.reset`.

        Raises:
            UserError: a start's pictures or proprioception do not fit the world model.
        """
        options, rows = options or {}, self.num_envs
        mask = np.asarray(options.get("reset_mask", np.ones(rows, bool)), bool)
        starts = options.get("starts") or [Start(int(one or 0)) for one in np.broadcast_to(seed, rows)]
        self._film = np.where(mask, options.get("film", 0), self._film)
        for name in ("_steps", "_held", "_solved", "_over"):
            setattr(self, name, np.where(mask, 0, getattr(self, name)).astype(getattr(self, name).dtype))
        self._seeds = np.where(mask, [start.seed for start in starts], self._seeds)
        latents, proprio = first_states(self._world, self._bank, starts, mask, self.env_spec.instruction)
        words = np.stack([word_ids(start.instruction or self.env_spec.instruction) for start in starts])
        for part, worlds in self._blocks:
            worlds.begin(latents[part], proprio[part], words[part], mask[part])
        begun_all = jnp.concatenate([worlds.state.latents for _, worlds in self._blocks])
        shown = self._observation(
            begun_all, np.concatenate([worlds.state.proprio for _, worlds in self._blocks])
        )
        self._shown = _rows(mask, shown, self._shown)
        filmed = (mask & (self._film > 0))[:, None]
        info = self._info(np.zeros(rows, np.int64), filmed, np.zeros((rows, 1), np.int64), [self._shown])
        return self._shown, info

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """See `ChunkEnvs.step`.

        Raises:
            UserError: an imagined world is no longer finite.
        """
        chunk, stride = np.clip(actions, -1.0, 1.0).astype(np.float32), self.env_spec.stride
        passed = [
            worlds.advance(chunk[part], self._seeds[part], self._steps[part] // stride, ~self._over[part])
            for part, worlds in self._blocks
        ]
        latents = jnp.concatenate([seen.latents for seen in passed], axis=1)
        proprio, said = (
            np.concatenate([np.asarray(getattr(seen, name)) for seen in passed], axis=1)
            for name in ("proprio", "solved")
        )
        before, going, steps = self._over.copy(), [], []
        for solved in said:
            going.append(~self._over)
            self._count(solved)
            steps.append(self._steps.copy())
        went = np.stack(going, axis=1)
        return self._answer(latents, proprio, ~before, went, np.stack(steps, axis=1))

    def close(self, **kwargs: Any) -> None:
        """See `ChunkEnvs.close`."""
        self.closed = True

    def _count(self, solved: np.ndarray) -> None:
        """One moment has passed in the worlds that go on; of each, whether it looks solved, bool [N]."""
        going = ~self._over
        self._steps = self._steps + going * self.env_spec.stride
        self._held = np.where(going, np.where(solved, self._held + 1, 0), self._held)
        done = (self._held >= self._hold) & (self._steps >= self._minimum)
        self._solved = self._solved | (going & done)
        self._over = self._over | self._solved | (self._steps >= self.env_spec.horizon)

    def _answer(
        self,
        latents: jax.Array,
        proprio: np.ndarray,
        went: np.ndarray,
        moments: np.ndarray,
        steps: np.ndarray,
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """What `step` gives.

        Args:
            latents, proprio: [M, N, …].
            went: bool [N], the worlds that were not over before.
            moments: bool [N, M], which moments a world lived through; steps: int [N, M], its control steps after each.
        """
        last, everyone = np.maximum(moments.sum(1) - 1, 0), np.arange(self.num_envs)
        ended = (self._over & went)[:, None] & (np.arange(moments.shape[1]) == last[:, None])
        due = steps % np.maximum(self._film, 1)[:, None] == 0
        filmed = moments & (self._film > 0)[:, None] & (due | ended)
        if filmed.any():
            shown = [self._observation(seen, felt) for seen, felt in zip(latents, proprio, strict=True)]
            now = jax.tree.map(lambda *parts: np.stack(parts)[last, everyone], *shown)
        else:
            shown, now = [], self._observation(latents[last, everyone], proprio[last, everyone])
        self._shown = _rows(went, now, self._shown)
        executed = moments.sum(1) * self.env_spec.stride
        rewards = np.zeros((self.num_envs, self.execute), np.float32)
        won = self._solved & went
        rewards[won, executed[won] - 1] = 1.0
        truncated = self._over & ~self._solved
        info = self._info(executed, filmed, steps, shown) | {
            "rewards": rewards,
            "_rewards": np.ones(self.num_envs, bool),
        }
        return self._shown, rewards.sum(1), self._solved.copy(), truncated, info

    def _info(
        self, executed: np.ndarray, filmed: np.ndarray, steps: np.ndarray, shown: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """See `ChunkEnvs.step`.

        Args:
            filmed: bool [N, M], which moments are in the film.
            steps: int [N, M], a world's control steps at each; shown: the observations of each, if any is filmed.
        """
        everyone = np.ones(self.num_envs, bool)
        info: dict[str, Any] = {"executed": executed, "_executed": everyone}
        if self._world.solved is not None:
            info |= {"success": self._solved.copy(), "_success": everyone}
        if filmed.any():
            count = filmed.sum(1)
            order = np.argsort(~filmed, axis=1, kind="stable")  # the filmed moments first, in their order
            there = np.arange(self.execute) < count[:, None]
            film = jax.tree.map(lambda *parts: _padded(np.stack(parts, axis=1), order, there), *shown)
            film |= {"count": count, "step": _padded(steps, order, there)}
            info |= {"film": film, "_film": filmed.any(1)}
        return info

    def _observation(self, latents: jax.Array, proprio: Any) -> dict[str, Any]:
        """Of one row each: latents [N, h, w, C], proprio [N, P]."""
        return {
            "images": self._blocks[0][1].pictures(latents),
            "proprio": np.asarray(proprio),
            "environment_state": np.zeros((self.num_envs, 0), np.float32),
        }


def _rows(mask: np.ndarray, one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Of each row the one or the other observation."""
    return jax.tree.map(lambda a, b: np.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b), one, other)


def _padded(parts: np.ndarray, order: np.ndarray, there: np.ndarray) -> np.ndarray:
    """[N, M, …] in the order of each row, zeros where nothing is there: [N, K, …]."""
    rows, moments = np.arange(len(parts))[:, None], order.shape[1]
    padded = np.zeros((len(parts), there.shape[1], *parts.shape[2:]), parts.dtype)
    padded[:, :moments] = parts[rows, order]
    return padded * there.reshape(*there.shape, *[1] * (parts.ndim - 2)).astype(parts.dtype)
