"""What a policy does as a function that JAX differentiates in its weights, for methods with a foresight.

Dimension letters: B batch, H action horizon, A action, P proprioception.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from envs.errors import UserError
from policy_extraction.adapters.inputs import check_chunks
from policy_extraction.types import PolicySpec

Read = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From `inputs.raw_inputs`, pictures as floats in [0, 255], to what the module reads."""


@runtime_checkable
class Pathwise(Protocol):
    """A module whose draws are differentiable in its weights."""

    def pathwise(self, observation: Mapping[str, Any], key: Any) -> Any:
        """Chunks [B, H, A], drawn as `sample` draws them."""
        ...


@runtime_checkable
class TracedInputs(Protocol):
    """A preprocess that is differentiable in the pictures."""

    def traced(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Read`."""
        ...


@dataclass(frozen=True)
class TracedPolicy:
    """A policy within a differentiated function."""

    module: Pathwise
    spec: PolicySpec
    reads: Read | None

    def draw(self, inputs: Mapping[str, Any], keys: Any) -> Any:
        """Chunks [B, H, A]; row b is drawn with keys[b]."""

        def one(row: Any, key: Any) -> Any:
            chunk = self.module.pathwise(jax.tree.map(lambda array: array[None], row), key)
            check_chunks(chunk.shape, 1, self.spec)
            return chunk[0]

        return jax.vmap(one)(inputs, keys)

    def read(self, before: Mapping[str, Any], images: Mapping[str, Any], proprio: Any) -> dict[str, Any]:
        """What the module reads after what it read before: pictures {camera: [B, H, W, 3]} in [0, 255], proprio [B, P].

        Raises:
            UserError: its preprocess cannot be differentiated.
        """
        if self.reads is None:
            raise UserError(
                "the policy's preprocess cannot be differentiated, which more than one imagined decision needs: give it a "
                "method traced(inputs), or set env.horizon to method.foresight.execute"
            )
        pictures = {f"images.{camera}": images[camera] for camera in self.spec.cameras}
        raw = {**pictures, "proprio": proprio, "words": before["words"]}
        return {**before, **self.reads(raw)}


class Objective(NamedTuple):
    """What gives batch["gain"]: a pure function of (policy, parts, batch, keys) with a key a row, and the arrays `parts`
    that it depends on.
    """

    function: Callable[[TracedPolicy, Any, Mapping[str, Any], Any], Any]
    parts: Any
