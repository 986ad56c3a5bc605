"""Proprioception by a small model of its own: the change over one step of the world.

A grasp is decided by millimetres, and errors add up over the steps of a rollout: so it may be trained by itself at last,
on many more clips than the pictures (`HandConfig.updates`).

Dimension letters: B worlds, T moments of a clip, K control steps of a world's step, A action, P proprioception, M numbers
besides.
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


SPEED_WEIGHT = 0.3  # of the error of how it moves at the end of a step, beside that of where it is


class Hand(nnx.Module):
    """An MLP from normalised proprioception and the step's actions to the normalised change.

    One that remembers reads how proprioception changed over the last control step, too, and tells it of the step's end.
    """

    def __init__(self, config: HandConfig, proprio_dim: int, told: int, *, rngs: nnx.Rngs) -> None:
        """told: how many numbers it reads besides proprioception, K · A + M."""
        remembered = config.memory * proprio_dim
        sizes = [proprio_dim + told + remembered, *[config.width] * config.layers]
        self.layers = nnx.List([Linear(a, b, rngs=rngs) for a, b in pairwise(sizes)])
        zeros = nnx.initializers.zeros
        self.out = Linear(config.width, proprio_dim + remembered, kernel_init=zeros, rngs=rngs)
        self.speed = Moment(jnp.ones(proprio_dim)) if config.memory else None
        self.mean, self.std, self.change = (
            Moment(jnp.zeros(proprio_dim)),
            Moment(jnp.ones(proprio_dim)),
            Moment(jnp.ones(proprio_dim)),
        )

    def fit(self, proprio: jax.Array, change: jax.Array, moved: jax.Array | None = None) -> None:
        """Take the statistics of proprioception [N, P], of its changes over one step [M, P] and over a control step [N, P],
        which one that remembers needs.
        """
        if self.speed is not None:
            assert moved is not None, "a hand that remembers needs to know how it moved"
            self.speed[...] = jnp.std(moved, 0) + 1e-6
        self.mean[...] = jnp.mean(proprio, 0)
        self.std[...] = jnp.std(proprio, 0) + 1e-6
        self.change[...] = jnp.std(change, 0) + 1e-6

    def normalised(self, proprio: jax.Array) -> jax.Array:
        """[B, P] with mean 0 and deviation 1 over the data."""
        return (proprio - self.mean[...]) / self.std[...]

    def remembered(self, moved: jax.Array) -> list[jax.Array]:
        """How it moved [B, P] in units of its speed, if it remembers."""
        return [] if self.speed is None else [moved / self.speed[...]]

    def __call__(
        self, proprio: jax.Array, actions: jax.Array, moved: jax.Array, more: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Proprioception [B, P] after actions [B, K, A], knowing more [B, M], and how it then moves [B, P].

        Args:
            moved: how proprioception changed over the last control step [B, P]; of one that does not remember it stays.
        """
        told = [actions.reshape(len(actions), -1), *([] if more is None else [more]), *self.remembered(moved)]
        x = jnp.concatenate([self.normalised(proprio), *told], axis=-1)
        for layer in self.layers:
            x = nnx.silu(layer(x))
        change, *drift = jnp.split(self.out(x), [proprio.shape[-1]] * (self.speed is not None), axis=-1)
        after = proprio + change * self.change[...]
        return after, moved if self.speed is None else drift[0] * self.speed[...]

    def error(self, after: jax.Array, moved: jax.Array, true: jax.Array, truly_moved: jax.Array) -> jax.Array:
        """Mean square of what is wrong with proprioception [B, P] in units of its change, and with how it moves, if told."""
        off = jnp.mean(jnp.square((after - true) / self.change[...]))
        if self.speed is None:
            return off
        return off + SPEED_WEIGHT * jnp.mean(jnp.square((moved - truly_moved) / self.speed[...]))


class NoHand(nnx.Module):
    """A hand's place where recordings tell no proprioception: P is 0."""

    def __init__(self) -> None:
        self.change = Moment(jnp.ones(0))

    def fit(self, proprio: jax.Array, change: jax.Array, moved: jax.Array | None = None) -> None:
        """See `Hand`: there is nothing to know."""

    def normalised(self, proprio: jax.Array) -> jax.Array:
        """See `Hand`."""
        return proprio

    def remembered(self, moved: jax.Array) -> list[jax.Array]:
        """See `Hand`."""
        return []

    def __call__(
        self, proprio: jax.Array, actions: jax.Array, moved: jax.Array, more: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """See `Hand`."""
        return proprio, moved

    def error(self, after: jax.Array, moved: jax.Array, true: jax.Array, truly_moved: jax.Array) -> jax.Array:
        """See `Hand`: nothing can be wrong."""
        return jnp.zeros(())
