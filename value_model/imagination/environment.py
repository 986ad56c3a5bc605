"""A world model as an environment: many imagined worlds, stepped together on the device.

Dimension letters: N worlds, K control steps of a chunk, M moments that a chunk passes through (K / stride), A action, P
proprioception, h and w latent height and width, C channels, D numbers that a policy's eyes give.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.contract import EnvSpec, Start
from envs.errors import UserError
from envs.pictures import LatePictures
from envs.text import word_ids
from value_model.imagination.first_states import first_states
from value_model.imagination.starts import StartBank
from value_model.imagination.world_model import WorldModel
from value_model.imagination.worlds import Moments, Worlds

BLOCK = 64  # worlds that are stepped together: the states of more no longer fit a CPU's cache


class ImaginedEnvs(VectorEnv):
    """A `ChunkEnvs` over a world model.

    An episode begins as its `Start` says: from its pictures, or where it has none from the one of the `bank` that its
    seed draws. What a world draws follows from the seed of its start, so that the members of a group see the same noise.
    It is solved once the world model says so at `hold` moments in a row, not before `minimum` control steps. Pictures are
    decoded when somebody looks at them; what the eyes that `spec.seen` names would see is always there.
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
            (slice(first, first + BLOCK), Worlds(world, min(BLOCK, worlds - first), bool(spec.seen)))
            for first in range(0, worlds, BLOCK)
        ]
        self._film, self._steps, self._held = (np.zeros(worlds, np.int64) for _ in range(3))
        self._seeds = np.zeros(worlds, np.int64)
        self._over, self._solved = np.ones(worlds, bool), np.zeros(worlds, bool)
        self._latents = np.full(
            (worlds, *world.config.latent_shape), np.nan, np.float32
        )  # NaN: none began yet
        self._proprio = np.zeros((worlds, spec.proprio_dim), np.float32)
        self._seen = np.zeros((worlds, sum(spec.seen.values())), np.float32)

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
        seen = np.concatenate([worlds.seen() for _, worlds in self._blocks])
        observation = self._show(mask, latents, proprio, seen)
        filmed = (mask & (self._film > 0))[:, None]
        passed = Moments(latents[None], proprio[None], np.zeros((1, rows), bool), seen[None])
        return observation, self._info(
            np.zeros(rows, np.int64), filmed, np.zeros((rows, 1), np.int64), passed
        )

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
        whole = Moments(*(np.concatenate(one, axis=1) for one in zip(*passed, strict=True)))
        before, going, steps = self._over.copy(), [], []
        for solved in whole.solved:
            going.append(~self._over)
            self._count(solved)
            steps.append(self._steps.copy())
        return self._answer(whole, ~before, np.stack(going, axis=1), np.stack(steps, axis=1))

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
        self, passed: Moments, went: np.ndarray, moments: np.ndarray, steps: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """What `step` gives.

        Args:
            passed: what all worlds passed through.
            went: bool [N], the worlds that were not over before.
            moments: bool [N, M], which moments a world lived through; steps: int [N, M], its control steps after each.
        """
        last, everyone = np.maximum(moments.sum(1) - 1, 0), np.arange(self.num_envs)
        ended = (self._over & went)[:, None] & (np.arange(moments.shape[1]) == last[:, None])
        due = steps % np.maximum(self._film, 1)[:, None] == 0
        filmed = moments & (self._film > 0)[:, None] & (due | ended)
        now = Moments(*(part[last, everyone] for part in passed))
        observation = self._show(went, now.latents, now.proprio, now.seen)
        executed = moments.sum(1) * self.env_spec.stride
        rewards = np.zeros((self.num_envs, self.execute), np.float32)
        won = self._solved & went
        rewards[won, executed[won] - 1] = 1.0
        truncated = self._over & ~self._solved
        info = self._info(executed, filmed, steps, passed) | {
            "rewards": rewards,
            "_rewards": np.ones(self.num_envs, bool),
        }
        return observation, rewards.sum(1), self._solved.copy(), truncated, info

    def _info(
        self, executed: np.ndarray, filmed: np.ndarray, steps: np.ndarray, passed: Moments
    ) -> dict[str, Any]:
        """See `ChunkEnvs.step`.

        Args:
            filmed: bool [N, M], which moments are in the film.
            steps: int [N, M], a world's control steps at each.
        """
        everyone = np.ones(self.num_envs, bool)
        info: dict[str, Any] = {"executed": executed, "_executed": everyone}
        if self._world.solved is not None:
            info |= {"success": self._solved.copy(), "_success": everyone}
        if filmed.any():
            info |= {"film": self._filmed(filmed, steps, passed), "_film": filmed.any(1)}
        return info

    def _filmed(self, filmed: np.ndarray, steps: np.ndarray, passed: Moments) -> dict[str, Any]:
        """The film of `ChunkEnvs.step`; no other moment is decoded."""
        rows, moments = np.nonzero(filmed)
        place = rows, (np.cumsum(filmed, axis=1) - 1)[rows, moments]

        def put(parts: np.ndarray) -> np.ndarray:
            whole = np.zeros((self.num_envs, self.execute, *parts.shape[1:]), parts.dtype)
            whole[place] = parts
            return whole

        images = self._draw(passed.latents[moments, rows])
        return {
            "images": {camera: put(frames) for camera, frames in images.items()},
            "proprio": put(passed.proprio[moments, rows]),
            "environment_state": np.zeros((self.num_envs, self.execute, 0), np.float32),
            "count": filmed.sum(1),
            "step": put(steps[rows, moments]),
        }

    def _show(
        self, mask: np.ndarray, latents: np.ndarray, proprio: np.ndarray, seen: np.ndarray
    ) -> dict[str, Any]:
        """The observation, after the rows of `mask` bool [N] have moved on to latents [N, h, w, C], proprio [N, P] and what
        eyes see of them [N, D].
        """
        for name, now in (("_latents", latents), ("_proprio", proprio), ("_seen", seen)):
            setattr(self, name, np.where(mask.reshape(-1, *[1] * (now.ndim - 1)), now, getattr(self, name)))
        shown: dict[str, Any] = {
            "images": LatePictures(self._draw, self._latents, tuple(self.env_spec.cameras)),
            "proprio": self._proprio,
            "environment_state": np.zeros((self.num_envs, 0), np.float32),
        }
        return shown | (
            {"seen": {eyes: self._seen for eyes in self.env_spec.seen}} if self.env_spec.seen else {}
        )

    def _draw(self, latents: np.ndarray) -> dict[str, np.ndarray]:
        """{camera: uint8 [n, H, W, 3]} of latents [n, h, w, C]; black where no episode ever began."""
        begun = np.isfinite(latents[:, 0, 0, 0])[:, None, None, None]
        images = self._blocks[0][1].pictures(np.where(begun, latents, 0.0))
        return {camera: frames * begun for camera, frames in images.items()}
