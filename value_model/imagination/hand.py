"""Proprioception by a small model of its own: the change over one step of the world.

Dimension letters: B worlds, K control steps of a world's step, A action, P proprioception,
M numbers besides.
"""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.imagination.config import HandConfig
from value_model.video.linear import Linear


class Moment(nnx.Variable):
    """A statistic of the data that was trained on; not trained by gradients."""


class Hand(nnx.Module):
    """An MLP from normalised proprioception and the step's actions to the normalised change."""

    def __init__(self, config: HandConfig, proprio_dim: int, told: int, *, rngs: nnx.Rngs) -> None:
        """told: how many numbers it reads besides proprioception, K · A + M."""
        sizes = [proprio_dim + told, *[config.width] * config.layers]
        self.layers = nnx.List([Linear(a, b, rngs=rngs) for a, b in pairwise(sizes)])
        self.out = Linear(config.width, proprio_dim, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.mean, self.std, self.change = (
            Moment(jnp.zeros(proprio_dim)),
            Moment(jnp.ones(proprio_dim)),
            Moment(jnp.ones(proprio_dim)),
        )

    def fit(self, proprio: jax.Array, change: jax.Array) -> None:
        """Take the statistics of proprioception [N, P] and of its changes over one step [M, P]."""
        self.mean[...] = jnp.mean(proprio, 0)
        self.std[...] = jnp.std(proprio, 0) + 1e-6
        self.change[...] = jnp.std(change, 0) + 1e-6

    def normalised(self, proprio: jax.Array) -> jax.Array:
        """[B, P] with mean 0 and deviation 1 over the data."""
        return (proprio - self.mean[...]) / self.std[...]

    def __call__(self, proprio: jax.Array, actions: jax.Array, more: jax.Array | None = None) -> jax.Array:
        """Proprioception [B, P] after actions [B, K, A], knowing more [B, M]."""
        told = [actions.reshape(len(actions), -1), *([] if more is None else [more])]
        x = jnp.concatenate([self.normalised(proprio), *told], axis=-1)
        for layer in self.layers:
            x = nnx.silu(layer(x))
        return proprio + self.out(x) * self.change[...]
