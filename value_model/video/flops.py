"""Floating-point operations, counted in the program that JAX traces: no array is made.

Counted are the matrix products and convolutions, 2 operations for a multiplication and an addition, whatever the
precision; everything else is a few per cent (`docs/resources.md` compares with XLA's own count). The products of a
masked attention count in full, as they are computed in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


def count_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Operations of the matrix products and convolutions in `function(*arguments)`.

    Args:
        function: traceable by JAX; loops whose number of rounds is not known beforehand are refused.
        arguments: pytrees of arrays or of `jax.ShapeDtypeStruct`.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        inputs: list[Any] = [variable.aval for variable in equation.invars]
        outputs: list[Any] = [variable.aval for variable in equation.outvars]
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            total += 2 * outputs[0].size * math.prod(inputs[0].shape[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            features = inputs[1].shape[params["dimension_numbers"].rhs_spec[0]]
            total += 2 * outputs[0].size * inputs[1].size // features
        elif name == "cond":
            total += max(_count(branch.jaxpr) for branch in params["branches"])
        else:
            inner = sum(_count(part) for part in _inner(params))
            if name == "while" and inner:
                raise ValueError("the number of rounds of a while loop is not known beforehand: use scan")
            total += params["length"] * inner if name == "scan" else inner
    return total


def _inner(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The programs within an equation."""
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, Jaxpr):
                yield part
