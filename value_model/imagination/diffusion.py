"""Diffusion as the published world model does it: sigmoid schedule, velocity prediction, DDIM.

A frame x at noise level t is √ᾱ_t x + √(1 − ᾱ_t) ε, and the network answers v = √ᾱ_t ε − √(1 − ᾱ_t) x
(Salimans and Ho, arXiv 2202.00512). Dimension letters: B batch, T frames.
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np


@cache
def signal(levels: int, start: float = -3.0, end: float = 3.0, tau: float = 1.0) -> np.ndarray:
    """ᾱ float32 [levels], the share of the signal's variance at each noise level: the sigmoid schedule of arXiv 2212.11972.

    Level t stands between the points t and t + 1 of the curve, and one level keeps at least a thousandth of what the one
    before it had.
    """
    points = np.linspace(start, end, levels + 1) / tau
    curve = 1.0 / (1.0 + np.exp(points))
    curve = (curve - curve[-1]) / (curve[0] - curve[-1])
    kept = np.maximum(curve[1:] / curve[:-1], 1e-3)
    return np.cumprod(kept).astype(np.float32)


def mix(x: jax.Array, noise: jax.Array, share: jax.Array) -> jax.Array:
    """√ᾱ x + √(1 − ᾱ) ε for frames [B, T, h, w, C] at shares ᾱ that broadcast with them."""
    return jnp.sqrt(share) * x + jnp.sqrt(1.0 - share) * noise


def velocity(x: jax.Array, noise: jax.Array, share: jax.Array) -> jax.Array:
    """√ᾱ ε − √(1 − ᾱ) x, of the shapes of `mix`."""
    return jnp.sqrt(share) * noise - jnp.sqrt(1.0 - share) * x


def ddim_levels(levels: int, steps: int) -> np.ndarray:
    """Noise levels int32 [steps + 1] from pure noise, `levels` − 1, down to −1, which means clean; evenly spaced, cut."""
    return (np.arange(steps, -1, -1) * levels // steps - 1).astype(np.int32)


def ddim_shares(levels: int, steps: int) -> np.ndarray:
    """ᾱ float32 [steps + 1] at each of `ddim_levels`; 1 at the last."""
    return np.append(signal(levels)[ddim_levels(levels, steps)[:-1]], np.float32(1.0))


def ddim_step(x: jax.Array, answer: jax.Array, share: jax.Array, next_share: jax.Array) -> jax.Array:
    """The frame at the next noise level: the clean frame and the noise that x and v mean, mixed anew (arXiv 2010.02502).

    x [B, h, w, C] at share ᾱ, `answer` the network's v; scalars `share` and `next_share`.
    """
    clean = jnp.sqrt(share) * x - jnp.sqrt(1.0 - share) * answer
    noise = jnp.sqrt(1.0 - share) * x + jnp.sqrt(share) * answer
    return mix(clean, noise, next_share)
