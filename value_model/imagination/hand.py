"""Proprioception by a small model of its own: the change over one step of the world.

A grasp is decided by millimetres, and errors add up over the steps of a rollout: so it may be trained by itself at last,
on many more clips than the pictures (`HandConfig.updates`).

Dimension letters: B worlds, T moments of a clip, K control steps of a world's step, A action, P proprioception, M classes
of outcomes.
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
    With `config.fingers` a second MLP is told what is drawn, and says where the last so many numbers come to: whether a
    grasp holds is seen at the fingers, and where the arm goes is known without.
    """

    def __init__(
        self, config: HandConfig, proprio_dim: int, acted: int, drawn: int = 0, *, rngs: nnx.Rngs
    ) -> None:
        """Of a step's actions it reads acted numbers, K · A, and M of what is drawn."""
        remembered, self.fingers = config.memory * proprio_dim, config.fingers
        told = proprio_dim + acted + remembered
        first = told if self.fingers else told + drawn
        self.layers, self.out = _layers(config, first, proprio_dim + remembered, rngs)
        if self.fingers:
            ends = (1 + config.memory) * self.fingers
            self.grip_layers, self.grip_out = _layers(config, told + drawn, ends, rngs)
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
        self, proprio: jax.Array, actions: jax.Array, moved: jax.Array, drawn: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Proprioception [B, P] after actions [B, K, A], as was drawn [B, M], and how it then moves [B, P].

        Args:
            moved: how proprioception changed over the last control step [B, P]; of one that does not remember it stays.
        """
        told = [self.normalised(proprio), actions.reshape(len(actions), -1), *self.remembered(moved)]
        all_told = told if drawn is None else [*told, drawn]
        ends = _answer(self.layers, self.out, told if self.fingers else all_told)
        parts = ends.reshape(
            len(ends), -1, proprio.shape[-1]
        )  # the change and, if it remembers, how it then moves
        if self.fingers:
            grip = _answer(self.grip_layers, self.grip_out, all_told).reshape(*parts.shape[:2], -1)
            parts = jnp.concatenate([parts[..., : -self.fingers], grip], axis=-1)
        after = proprio + parts[:, 0] * self.change[...]
        return after, moved if self.speed is None else parts[:, 1] * self.speed[...]

    def error(self, after: jax.Array, moved: jax.Array, true: jax.Array, truly_moved: jax.Array) -> jax.Array:
        """Mean square of what is wrong with proprioception [B, P] in units of its change, and with how it moves, if told."""
        off = jnp.mean(jnp.square((after - true) / self.change[...]))
        if self.speed is None:
            return off
        return off + SPEED_WEIGHT * jnp.mean(jnp.square((moved - truly_moved) / self.speed[...]))


def _layers(config: HandConfig, read: int, ends: int, rngs: nnx.Rngs) -> tuple[nnx.List, Linear]:
    """The hidden layers of an MLP that reads so many numbers, and the one that ends in so many, 0 at first."""
    sizes = [read, *[config.width] * config.layers]
    hidden = nnx.List([Linear(a, b, rngs=rngs) for a, b in pairwise(sizes)])
    return hidden, Linear(config.width, ends, kernel_init=nnx.initializers.zeros, rngs=rngs)


def _answer(layers: nnx.List, out: Linear, told: list[jax.Array]) -> jax.Array:
    """Of an MLP that is told parts [B, …]."""
    x = jnp.concatenate(told, axis=-1)
    for layer in layers:
        x = nnx.silu(layer(x))
    return out(x)
