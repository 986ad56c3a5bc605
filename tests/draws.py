"""Random numbers of any shape from a few compiled programs.

JAX compiles a program for each shape that it draws from, .3 s of a core each, and models of many sizes are made here.
Its counter-based generator gives element i of a flat draw the same value whatever the length, so that a longer draw,
cut and reshaped, is the same draw up to rounding (`test_draws.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax._src.core import trace_state_clean
from jax._src.random import core

SIZES = [4**power for power in range(4, 12)]  # lengths that are drawn; what is longer is drawn as it is


def share_draws() -> None:
    """Draw normal, truncated normal and uniform numbers in few lengths wherever the key is known."""
    for name in ("_normal", "_truncated_normal", "_uniform"):
        setattr(core, name, in_few_lengths(getattr(core, name)))


def in_few_lengths(draw: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`draw(key, *bounds, shape=…, dtype=…)`, which gives the same and compiles less."""

    def same(
        key: jax.Array, *bounds: Any, shape: tuple[int, ...] | None, dtype: Any, **named: Any
    ) -> jax.Array:
        known = trace_state_clean() and shape is not None and not any(np.ndim(bound) for bound in bounds)
        count = math.prod(shape) if known and not named else 0
        length = next((size for size in SIZES if size >= count), None)
        if not count or length is None:
            return draw(key, *bounds, shape=shape, dtype=dtype, **named)
        flat = draw(key, *bounds, shape=(length,), dtype=dtype)
        return jax.device_put(np.asarray(flat)[:count].reshape(shape))

    return same
