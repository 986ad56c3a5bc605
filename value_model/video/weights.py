"""The arrays of a model's parts under dotted names, as they lie in its safetensors file."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from envs.errors import UserError
from envs.files import load_arrays

M = TypeVar("M", bound=nnx.Module)


def flat_arrays(parts: Mapping[str, nnx.Module]) -> dict[str, jax.Array]:
    """Every array of the parts by its dotted name, which begins with the part's."""
    return {
        _name(part, path): variable[...]
        for part, module in parts.items()
        for path, variable in nnx.to_flat_state(nnx.state(module))
    }


def blank(make: Callable[..., M], *config: Hashable) -> M:
    """What `make(*config, rngs=…)` makes, with shapes instead of arrays: no weight is drawn that is then read.

    Read its arrays into it before anything is built on it.
    """
    return nnx.merge(*_traced(make, config), copy=True)


@cache
def _traced(make: Callable[..., nnx.Module], config: tuple[Hashable, ...]) -> tuple[Any, Any]:
    """Its graph and its shapes; tracing takes longer than reading, and models are loaded many times."""
    return nnx.split(nnx.eval_shape(lambda: make(*config, rngs=nnx.Rngs(0))))


def fill_arrays(parts: Mapping[str, nnx.Module], file: Path) -> None:
    """Put the arrays of a safetensors file into the parts, `blank` ones or others, in the precision that these have.

    Raises:
        UserError: the file is missing or damaged, or its names or shapes are not those of the parts.
    """
    arrays, _ = load_arrays(file)
    expected = {
        _name(part, path): variable.get_value()
        for part, module in parts.items()
        for path, variable in nnx.to_flat_state(nnx.state(module))
    }
    wrong = sorted(set(expected) ^ set(arrays)) or sorted(
        name for name, value in expected.items() if value.shape != arrays[name].shape
    )
    if wrong:
        raise UserError(
            f"{file.parent} does not fit its own config.json at {wrong[0]}; train the model again"
        )
    for part, module in parts.items():
        state = nnx.to_flat_state(nnx.state(module))
        filled = [
            (path, jnp.asarray(arrays[_name(part, path)], old.get_value().dtype)) for path, old in state
        ]
        nnx.update(module, nnx.from_flat_state(filled))


def _name(part: str, path: tuple) -> str:
    return ".".join([part, *map(str, path)])
