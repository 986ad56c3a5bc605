"""Copies of a network's weights, in another precision or on other devices, that follow the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import jax
from flax import nnx

Module = TypeVar("Module", bound=nnx.Module)


class Follower(Generic[Module]):
    """A copy of a network, made on demand, and made again once any of the network's arrays has been replaced.

    Arrays do not change in place: an update of a parameter puts another array into it, which is seen here.

    Args:
        network: what is copied.
        convert: its parameters to the copy's.
    """

    def __init__(self, network: Module, convert: Callable[[nnx.State], nnx.State]) -> None:
        self._network = network
        self._convert = convert
        self._source: list[Any] = []
        self._copy: Module | None = None

    def __call__(self) -> Module:
        """The copy of the network as it is now."""
        graph, params = nnx.split(self._network)
        source = jax.tree.leaves(params)
        same = len(source) == len(self._source) and all(map(_is, source, self._source))
        if self._copy is None or not same:
            self._source, self._copy = source, nnx.merge(graph, self._convert(params))
        return self._copy


def _is(one: object, other: object) -> bool:
    return one is other
