"""What a causal dynamics keeps of the frames that it has seen: keys and values of every layer, newest frames only.

The keys are kept rotated to their frame's place in time. Rotary positions only tell how far apart two frames are, so
nothing has to be moved when the window slides: a new frame overwrites the oldest one (a ring). Every array has the batch
first, so that worlds may be picked, joined and begun anew row by row.

Dimension letters: B batch, L layers, S tokens per frame, R frames kept, W width.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Ring(NamedTuple):
    """Keys and values of the newest frames."""

    keys: jax.Array  # [B, L, S, R, W]
    values: jax.Array  # [B, L, S, R, W]
    frames: jax.Array  # how many frames each row has seen, int32 [B]


def empty_ring(batch: int, layers: int, tokens: int, size: int, width: int, dtype: jnp.dtype) -> Ring:
    """Nothing seen yet; `size` is R."""
    nothing = jnp.zeros((batch, layers, tokens, size, width), dtype)
    return Ring(nothing, nothing, jnp.zeros(batch, jnp.int32))


def filled(ring: Ring) -> jax.Array:
    """Which places hold a frame, bool [B, R]."""
    return jnp.arange(ring.keys.shape[3]) < ring.frames[:, None]


def remember(ring: Ring, keys: jax.Array, values: jax.Array) -> Ring:
    """The ring with one more frame, whose keys and values are [B, L, S, 1, W], in place of the oldest."""
    place = ring.frames % ring.keys.shape[3]
    write = jax.vmap(lambda kept, new, at: jax.lax.dynamic_update_slice_in_dim(kept, new, at, axis=2))
    return Ring(
        write(ring.keys, keys.astype(ring.keys.dtype), place),
        write(ring.values, values.astype(ring.values.dtype), place),
        ring.frames + 1,
    )
