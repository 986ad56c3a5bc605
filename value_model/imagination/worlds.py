"""Imagined worlds on the device: begun from pictures, advanced by chunks of actions, shown as pictures.

Dimension letters: B worlds, M moments that a chunk passes through, A action, P proprioception, h and w latent height
and width, C channels, L words.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.errors import UserError
from value_model.imagination.world_model import WorldModel


class Moments(NamedTuple):
    """What B worlds passed through.

    latents: float32 [M, B, h, w, C]; proprio: float32 [M, B, P]; success: float32 [M, B], the probability that the task
    is solved, NaN where the world model cannot tell.
    """

    latents: jax.Array
    proprio: jax.Array
    success: jax.Array


class Worlds:
    """B imagined worlds, whose functions are compiled once for that number."""

    def __init__(self, world: WorldModel, count: int) -> None:
        config = world.config
        self.count, self.stride = count, config.stride
        graph, params = nnx.split(world.modules)

        def begin(params: Any, latents: Any, proprio: Any, words: Any) -> Any:
            return nnx.merge(graph, params).dynamics.init(latents, proprio, words)

        def advance(params: Any, state: Any, actions: Any, keys: Any, active: Any) -> Any:
            modules = nnx.merge(graph, params)

            def step(state: Any, now: Any) -> Any:
                later = modules.dynamics.step(state, now[0], now[1])
                later = _where(active, later, state)
                return later, Moments(
                    later.latents, later.proprio, modules.solved(later.latents, later.proprio)
                )

            return jax.lax.scan(step, state, (actions, keys))

        def show(params: Any, latents: Any) -> Any:
            pixels = nnx.merge(graph, params).tokenizer.decode(latents)
            return jnp.clip(jnp.round((pixels + 1.0) * 127.5), 0, 255).astype(jnp.uint8)

        self._params = params
        self._begin, self._advance, self._show = jax.jit(begin), jax.jit(advance), jax.jit(show)
        self._keys = jax.jit(jax.vmap(jax.vmap(_key)))
        self.state: Any = None

    def begin(self, latents: np.ndarray, proprio: np.ndarray, words: np.ndarray, mask: np.ndarray) -> None:
        """Let the worlds of `mask` bool [B] begin: latents [B, h, w, C], proprio [B, P], words int32 [B, L]."""
        fresh = self._begin(self._params, latents, proprio, words)
        self.state = fresh if self.state is None else _where(jnp.asarray(mask), fresh, self.state)

    def advance(self, chunk: np.ndarray, seeds: np.ndarray, steps: np.ndarray, active: np.ndarray) -> Moments:
        """Go on by a chunk.

        Args:
            chunk: float32 [B, M · stride, A].
            seeds: int64 [B], of what each world draws.
            steps: int64 [B], how many moments each world has passed through.
            active: bool [B]; the others stay where they are.

        Raises:
            UserError: a world is no longer finite.
        """
        moments = chunk.shape[1] // self.stride
        actions = np.moveaxis(chunk.reshape(self.count, moments, self.stride, -1), 1, 0)
        numbers = steps + np.arange(moments)[:, None]
        keys = self._keys(
            np.broadcast_to(seeds % 2**32, numbers.shape).astype(np.uint32), numbers.astype(np.uint32)
        )
        self.state, passed = self._advance(self._params, self.state, actions, keys, active)
        finite = np.isfinite(np.asarray(passed.proprio)).all() and bool(jnp.isfinite(passed.latents).all())
        if not finite:
            raise UserError(
                "an imagined world became NaN or infinite; train the world model longer or at a lower rate"
            )
        return passed

    def pictures(self, latents: jax.Array) -> np.ndarray:
        """uint8 [..., H, W · cameras, 3] of latents [..., h, w, C]."""
        flat = self._show(self._params, latents.reshape(-1, *latents.shape[-3:]))
        return np.asarray(flat).reshape(*latents.shape[:-3], *flat.shape[1:])


def _key(seed: jax.Array, number: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), number)


def _where(mask: jax.Array, one: Any, other: Any) -> Any:
    """Of each world the one or the other state."""
    return jax.tree.map(lambda a, b: jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b), one, other)
