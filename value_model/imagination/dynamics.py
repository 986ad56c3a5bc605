"""What a world model's dynamics are: functional, batched, on the device.

A rollout is one `scan` over `step`, and gradients run through it.

Dimension letters: B worlds, h and w latent height and width, C channels, P proprioception, A action, L words.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp


class WorldState(Protocol):
    """A pytree of arrays, one row a world; what has been imagined last is always there."""

    @property
    def latents(self) -> jax.Array:
        """[B, h, w, C], all cameras side by side, normalised as the tokenizer gives them."""
        ...

    @property
    def proprio(self) -> jax.Array:
        """[B, P] in the data's own units."""
        ...

    @property
    def words(self) -> jax.Array:
        """Of the instruction: int32 [B, L], 0 for none."""
        ...


class Dynamics(Protocol):
    """Predicts what is seen and felt `stride` control steps later."""

    stride: int

    def init(self, latents: jax.Array, proprio: jax.Array, words: jax.Array) -> Any:
        """The state of worlds that begin with latents [B, h, w, C], proprio [B, P] and words int32 [B, L], 0 for none."""
        ...

    def step(self, state: Any, actions: jax.Array, keys: jax.Array) -> Any:
        """The state after actions [B, stride, A] in [-1, 1]; a world draws from its own of keys [B], if at all."""
        ...


def where(mask: jax.Array, one: Any, other: Any) -> Any:
    """Of each world the one or the other state, by mask bool [B]."""
    return jax.tree.map(lambda a, b: jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b), one, other)
