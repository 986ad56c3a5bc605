"""Views turned, mirrored and recoloured at random, so that few recordings show a tokenizer more than their few scenes.

Dimension letters: B views, S their height and width in pixels.
"""

from __future__ import annotations

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np

COLOURS = np.array(list(permutations(range(3))))  # orders of the three
CONTRAST, BRIGHTNESS = 0.3, 30.0  # largest change: a factor from 1, and of 255


def varied(views: jax.Array, weight: jax.Array | None, key: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """Views uint8 [B, S, S, 3], each changed in a way of its own, and the weights of their pixels [B, S, S], moved along."""
    keys = jax.random.split(key, (len(views), 3))
    seen = jax.vmap(_recoloured)(views, keys[:, 0])
    ways = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (3,)))(keys[:, 1])
    return jax.vmap(_turned)(seen, ways), None if weight is None else jax.vmap(_turned)(weight, ways)


def _turned(view: jax.Array, ways: jax.Array) -> jax.Array:
    """A view [S, S, …], upside down, mirrored and its axes exchanged, or not, as bool [3] says: every quarter turn is among
    them.
    """
    view = jnp.where(ways[0], view[::-1], view)
    view = jnp.where(ways[1], view[:, ::-1], view)
    return jnp.where(ways[2], jnp.swapaxes(view, 0, 1), view)


def _recoloured(view: jax.Array, key: jax.Array) -> jax.Array:
    """A view uint8 [S, S, 3], its colours in another order, with another contrast and brightness."""
    keys = jax.random.split(key, 3)
    order = jnp.asarray(COLOURS)[jax.random.randint(keys[0], (), 0, len(COLOURS))]
    factor = 1.0 + CONTRAST * jax.random.uniform(keys[1], minval=-1.0)
    shift = BRIGHTNESS * jax.random.uniform(keys[2], minval=-1.0)
    changed = factor * view[..., order].astype(jnp.float32) + shift
    return jnp.clip(jnp.round(changed), 0, 255).astype(jnp.uint8)
