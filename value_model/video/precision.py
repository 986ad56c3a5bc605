"""Mixed precision: float32 master weights, and a copy of them in the precision that the network computes in.

What decides the precision is the network's own matrices (see `blocks`). The flow times' part stays in float32, as in
Wan, whose sinusoids and modulations lose too much in bfloat16; bfloat16 needs no scaling of the loss.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp

from value_model.video.sharding import path_names

Tree = TypeVar("Tree")

FLOAT32 = frozenset({"time", "modulation", "head_modulation"})


def compute_copy(params: Tree, precision: str) -> Tree:
    """The parameters as they are computed with; float32 ones as they are. Gradients through the copy are float32.

    Args:
        params: of the network, float32.
        precision: "float32" or "bfloat16".
    """
    if precision == "float32":
        return params

    def cast(path: tuple, leaf: jax.Array) -> jax.Array:
        return leaf if FLOAT32 & set(path_names(path)) else leaf.astype(jnp.dtype(precision))

    return jax.tree_util.tree_map_with_path(cast, params)
