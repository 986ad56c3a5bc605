"""A world model as functions that JAX differentiates in the actions.

Dimension letters: B worlds, h and w latent height and width, C channels, P proprioception, A action, L words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.imagination.world_model import WorldModel


@dataclass(frozen=True)
class TracedWorld:
    """A frozen world model; parts: its arrays."""

    graph: Any
    parts: Any
    cameras: tuple[str, ...]

    def begin(self, parts: Any, latents: jax.Array, proprio: jax.Array, words: jax.Array) -> Any:
        """The state of worlds that begin with latents [B, h, w, C], proprio [B, P] and words int32 [B, L]."""
        return nnx.merge(self.graph, parts)["dynamics"].init(latents, proprio, words)

    def step(self, parts: Any, state: Any, actions: jax.Array, keys: jax.Array) -> Any:
        """The state after actions [B, stride, A] in [-1, 1]; a world draws from its own of keys [B], if at all."""
        return nnx.merge(self.graph, parts)["dynamics"].step(state, actions, keys)

    def show(self, parts: Any, latents: jax.Array) -> dict[str, jax.Array]:
        """{camera: [B, H, W, 3]} in [0, 255], the pictures that `Worlds.pictures` rounds, of latents [B, h, w, C]."""
        views = jnp.concatenate(jnp.split(latents, len(self.cameras), axis=2))
        pixels = nnx.merge(self.graph, parts)["tokenizer"].decode(views)
        shown = jnp.clip((pixels + 1.0) * 127.5, 0.0, 255.0)
        return dict(zip(self.cameras, jnp.split(shown, len(self.cameras)), strict=True))


def traced_world(world: WorldModel) -> TracedWorld:
    """The world model as differentiable functions."""
    graph, parts = nnx.split(world.parts)
    return TracedWorld(graph, parts, world.config.cameras)
