"""How the value stream speaks of values: by flow matching (the paper's), or as histograms (its ablation).

Dimension letters: B batch, h horizon, O outputs of a value token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from value_model.critic.config import ValueConfig

Read = Callable[[jax.Array, jax.Array], jax.Array]
"""The network's outputs [B, h, O] for value tokens [B, h] at flow times [B, h]."""


class Drawn(NamedTuple):
    """What the value tokens are given in training, and what they should answer."""

    tokens: jax.Array  # [B, h]
    tau: jax.Array  # flow times [B, h]; 1 is clean
    target: jax.Array  # [B, h, O]


@runtime_checkable
class ValueHead(Protocol):
    """Training targets of the value tokens, and values from what they answer."""

    @property
    def outputs(self) -> int:
        """O, numbers that a value token answers."""
        ...

    def draw(self, values: jax.Array, key: jax.Array) -> Drawn:
        """Inputs and targets for true values [B, h] in [0, 1]."""
        ...

    def loss(self, output: jax.Array, target: jax.Array) -> jax.Array:
        """Loss [B, h] of outputs [B, h, O]."""
        ...

    def values(self, read: Read, noise: jax.Array, steps: int) -> jax.Array:
        """Values [B, h] in [0, 1]; `noise` is standard normal [B, h]."""
        ...


@dataclass(frozen=True)
class FlowHead:
    """Flow matching: y_τ = τ y + (1 − τ) ε with y = 2 v − 1; the token answers the velocity y − ε."""

    @property
    def outputs(self) -> int:
        return 1

    def draw(self, values: jax.Array, key: jax.Array) -> Drawn:
        keys = jax.random.split(key)
        tau = jnp.broadcast_to(jax.random.uniform(keys[0], (values.shape[0], 1)), values.shape)
        clean, noise = 2.0 * values - 1.0, jax.random.normal(keys[1], values.shape)
        return Drawn(tau * clean + (1.0 - tau) * noise, tau, (clean - noise)[..., None])

    def loss(self, output: jax.Array, target: jax.Array) -> jax.Array:
        return jnp.mean((output - target) ** 2, axis=-1)

    def values(self, read: Read, noise: jax.Array, steps: int) -> jax.Array:
        """Euler's method from noise (τ = 0) to value (τ = 1): y ← y + velocity(y, τ) / steps."""

        def euler(step: jax.Array, y: jax.Array) -> jax.Array:
            return y + read(y, jnp.full(y.shape, step / steps))[..., 0] / steps

        return jnp.clip((jax.lax.fori_loop(0, steps, euler, noise) + 1.0) / 2.0, 0.0, 1.0)


@dataclass(frozen=True)
class HistogramHead:
    """HL-Gauss (Farebrother et al. 2024): cross-entropy with a Gaussian of σ bins around the value, over [0, 1].

    The tokens are given nothing (0 at τ = 0); the value is the expectation of the answered histogram.
    """

    bins: int
    sigma: float

    @property
    def outputs(self) -> int:
        return self.bins

    def draw(self, values: jax.Array, key: jax.Array) -> Drawn:
        nothing = jnp.zeros_like(values)
        edges = jnp.linspace(0.0, 1.0, self.bins + 1)
        cumulative = jax.scipy.stats.norm.cdf((edges - values[..., None]) * self.bins / self.sigma)
        mass = jnp.diff(cumulative, axis=-1)
        return Drawn(nothing, nothing, mass / jnp.sum(mass, axis=-1, keepdims=True))

    def loss(self, output: jax.Array, target: jax.Array) -> jax.Array:
        return -jnp.sum(target * jax.nn.log_softmax(output, axis=-1), axis=-1)

    def values(self, read: Read, noise: jax.Array, steps: int) -> jax.Array:
        centres = (jnp.arange(self.bins) + 0.5) / self.bins
        nothing = jnp.zeros_like(noise)
        return jnp.sum(jax.nn.softmax(read(nothing, nothing), axis=-1) * centres, axis=-1)


def value_head(config: ValueConfig) -> ValueHead:
    """The head that a configuration asks for."""
    if config.head == "hl_gauss":
        return HistogramHead(config.bins, config.sigma)
    return FlowHead()
