"""Imagined worlds on the device: begun from pictures, advanced by chunks of actions, shown as pictures.

Dimension letters: B worlds, M moments that a chunk passes through, A action, P proprioception, h and w latent height
and width, C channels, L words, D numbers that a policy's eyes give.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.errors import UserError
from value_model.imagination.dynamics import where
from value_model.imagination.world_model import WorldModel
from value_model.video.flops import count_flops


class Moments(NamedTuple):
    """What B worlds passed through: latents [M, B, h, w, C], proprio [M, B, P], solved bool [M, B]; seen [M, B, D] by the
    world model's eyes, D = 0 where they are not asked. On
    the device, or in numpy.
    """

    latents: Any
    proprio: Any
    solved: Any
    seen: Any


class _Programs:
    """What a world model's worlds do, compiled once for each number of them."""

    def __init__(self, world: WorldModel, eyes: bool) -> None:
        told: dict[str, Any] = {"eyes": world.eyes} if eyes else {}
        graph, self.params = nnx.split(world.parts | told)

        def begin(params: Any, latents: Any, proprio: Any, words: Any) -> Any:
            return nnx.merge(graph, params)["dynamics"].init(latents, proprio, words)

        def advance(params: Any, state: Any, actions: Any, seeds: Any, numbers: Any, active: Any) -> Any:
            parts = nnx.merge(graph, params)

            def step(state: Any, now: Any) -> Any:
                state = where(active, parts["dynamics"].step(state, *now), state)
                return state, _moment(parts, state)

            state, seen = jax.lax.scan(step, state, (actions, _keys(seeds, numbers)))
            return state, seen, jnp.isfinite(seen.latents).all() & jnp.isfinite(seen.proprio).all()

        def look(params: Any, state: Any) -> Any:
            return _moment(nnx.merge(graph, params), state).seen

        def show(params: Any, latents: Any) -> Any:
            pixels = nnx.merge(graph, params)["tokenizer"].decode(_views(latents, len(world.config.cameras)))
            return jnp.clip(jnp.round((pixels + 1.0) * 127.5), 0, 255).astype(jnp.uint8)

        self.begin, self.advance, self.show = jax.jit(begin), jax.jit(advance), jax.jit(show)
        self.look = jax.jit(look)


@lru_cache(maxsize=4)
def _programs(world: WorldModel, eyes: bool) -> _Programs:
    """Those of a world model, which the next worlds in it find traced and compiled."""
    return _Programs(world, eyes)


class Worlds:
    """B imagined worlds."""

    def __init__(self, world: WorldModel, count: int, eyes: bool = False) -> None:
        """See the class; eyes: whether to say what the world model's eyes see."""
        self.count, self.stride = count, world.config.stride
        self._programs = _programs(world, eyes)
        self._params = self._programs.params
        self._cameras, self._action_dim = world.config.cameras, world.config.action_dim
        self.state: Any = None

    def begin(self, latents: np.ndarray, proprio: np.ndarray, words: np.ndarray, mask: np.ndarray) -> None:
        """Let the worlds of `mask` bool [B] begin: latents [B, h, w, C], proprio [B, P], words int32 [B, L]."""
        fresh = self._programs.begin(self._params, latents, proprio, words)
        self.state = fresh if self.state is None else where(jnp.asarray(mask), fresh, self.state)

    def advance(
        self, chunk: np.ndarray, seeds: np.ndarray, passed: np.ndarray, active: np.ndarray
    ) -> Moments:
        """Go on by a chunk.

        Args:
            chunk: float32 [B, M · stride, A] in [-1, 1].
            seeds: int64 [B], of what each world draws.
            passed: int64 [B], how many moments each world has passed through before.
            active: bool [B]; the others stay where they are.

        Raises:
            UserError: a world is no longer finite.
        """
        moments = chunk.shape[1] // self.stride
        actions = np.moveaxis(chunk.reshape(self.count, moments, self.stride, -1), 1, 0)
        numbers = passed + np.arange(moments)[:, None]
        drawn = np.broadcast_to(seeds % 2**32, numbers.shape).astype(np.uint32)
        self.state, seen, finite = self._programs.advance(
            self._params, self.state, actions, drawn, numbers, active
        )
        if not bool(finite):
            raise UserError(
                "an imagined world became NaN or infinite; train the world model longer, or at a lower learning rate"
            )
        return seen

    def step_flops(self) -> int:
        """Operations of one step of one world that has begun: its picture, its hand, and whether it looks solved."""
        actions = jnp.zeros((1, self.count, self.stride, self._action_dim))
        drawn, numbers = np.zeros((1, self.count), np.uint32), np.zeros((1, self.count), np.int64)
        everyone = np.ones(self.count, bool)
        program = self._programs.advance, self._params, self.state, actions, drawn, numbers, everyone
        return count_flops(*program) // self.count

    def seen(self) -> np.ndarray:
        """What the world model's eyes see of every world now, float32 [B, D]."""
        return np.asarray(self._programs.look(self._params, self.state))

    def pictures(self, latents: np.ndarray) -> dict[str, np.ndarray]:
        """{camera: uint8 [N, H, W, 3]} of latents [N, h, w, C], B at a time."""
        count, blocks = len(latents), []
        for first in range(0, count, self.count):
            rows = np.minimum(np.arange(first, first + self.count), count - 1)
            shown = np.asarray(self._programs.show(self._params, latents[rows]))
            blocks.append(shown.reshape(len(self._cameras), self.count, *shown.shape[1:]))
        shown = np.concatenate(blocks, axis=1)[:, :count]
        return dict(zip(self._cameras, shown, strict=True))


def _views(latents: jax.Array, cameras: int) -> jax.Array:
    """[N, h, w, C] to one view after the other, all of the first camera before all of the next."""
    return jnp.concatenate(jnp.split(latents, cameras, axis=2))


def _moment(parts: Any, state: Any) -> Moments:
    """Of every world as it is now."""
    nothing = jnp.zeros((len(state.proprio), 0))
    seen = parts["eyes"](state.latents, state.proprio) if "eyes" in parts else nothing
    return Moments(state.latents, state.proprio, _solved(parts, state), seen)


def _solved(parts: Any, state: Any) -> jax.Array:
    if "solved" not in parts:
        return jnp.zeros(len(state.proprio), bool)
    return parts["solved"](state.latents, state.proprio, state.words)


@jax.vmap
@jax.vmap
def _keys(seed: jax.Array, number: jax.Array) -> jax.Array:
    """A key for each world and moment."""
    return jax.random.fold_in(jax.random.key(seed), number)
