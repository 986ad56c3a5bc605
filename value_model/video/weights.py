"""The arrays of a model's parts under dotted names, as they lie in its safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from envs.errors import UserError
from envs.files import load_arrays


def flat_arrays(parts: Mapping[str, nnx.Module]) -> dict[str, jax.Array]:
    """Every array of the parts by its dotted name, which begins with the part's."""
    return {
        _name(part, path): variable[...]
        for part, module in parts.items()
        for path, variable in nnx.to_flat_state(nnx.state(module))
    }


def fill_arrays(parts: Mapping[str, nnx.Module], file: Path) -> None:
    """Put the arrays of a safetensors file into the parts, in the precision that these have.

    Raises:
        UserError: the file is missing or damaged, or its names or shapes are not those of the parts.
    """
    arrays, _ = load_arrays(file)
    expected = flat_arrays(parts)
    wrong = sorted(set(expected) ^ set(arrays)) or sorted(
        name for name, value in expected.items() if value.shape != arrays[name].shape
    )
    if wrong:
        raise UserError(
            f"{file.parent} does not fit its own config.json at {wrong[0]}; train the model again"
        )
    for part, module in parts.items():
        state = nnx.to_flat_state(nnx.state(module))
        filled = [(path, jnp.asarray(arrays[_name(part, path)], old[...].dtype)) for path, old in state]
        nnx.update(module, nnx.from_flat_state(filled))


def _name(part: str, path: tuple) -> str:
    return ".".join([part, *map(str, path)])
