"""Angles of rotary positions as the published world model lays them out: spatial in two axes, temporal in one.

A head's width is split evenly over the axes, height first. Dimension letters: N tokens, T frames.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

PIXEL_FREQUENCY = (
    128.0  # the highest one of the pixel rotary, in half turns from the picture's middle to its edge
)


def spatial_angles(height: int, width: int, head_width: int, kind: str) -> jax.Array:
    """Angles [height · width, head_width / 2] of a frame's tokens.

    "standard": integer positions, frequencies from 1 down to 1/10,000 a token. "pixel": positions from −1 to 1 over the
    picture whatever its size, frequencies from π to 128 π.
    """
    count = head_width // 4
    if kind == "pixel":
        frequencies = jnp.pi * jnp.linspace(1.0, PIXEL_FREQUENCY, count)
        rows, columns = jnp.linspace(-1.0, 1.0, height), jnp.linspace(-1.0, 1.0, width)
    else:
        frequencies = _falling(count)
        rows, columns = jnp.arange(height), jnp.arange(width)
    along, across = jnp.outer(rows, frequencies), jnp.outer(columns, frequencies)
    shape = (height, width, count)
    both = [jnp.broadcast_to(along[:, None], shape), jnp.broadcast_to(across[None], shape)]
    return jnp.concatenate(both, axis=-1).reshape(height * width, -1)


def temporal_angles(frames: jax.Array, head_width: int) -> jax.Array:
    """Angles [..., T, head_width / 2] of frames at integer places [..., T] in time."""
    return frames[..., None] * _falling(head_width // 2)


def _falling(count: int) -> jax.Array:
    return 10_000.0 ** (-jnp.arange(count) / count)
