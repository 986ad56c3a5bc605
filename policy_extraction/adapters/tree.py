"""Trees of arrays by name, for files without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.errors import UserError


def named_leaves(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of a tree by their path: {"params/layer/kernel": array, …}."""
    return {name: np.asarray(leaf) for name, leaf in _by_path(tree).items()}


def tree_like(template: Any, arrays: Mapping[str, np.ndarray], source: Path) -> Any:
    """The tree shaped and typed as `template` (of arrays or shapes) whose leaves are `arrays`, read from `source`.

    Raises:
        UserError: names or shapes differ.
    """
    wanted = _by_path(template)
    if {name: array.shape for name, array in arrays.items()} != {
        name: array.shape for name, array in wanted.items()
    }:
        raise UserError(
            f"{source} holds another model than this one; restore it into one of the same configuration"
        )
    leaves = [jnp.asarray(arrays[name], array.dtype) for name, array in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _by_path(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
