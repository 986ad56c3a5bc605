"""What may be trained with a world model's dynamics, on their weights: how it says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax

from value_model.imagination.clips import Frames
from value_model.imagination.kinds import OwnDynamics


@runtime_checkable
class Reading(Protocol):
    """What is read off the dynamics besides, by weights of its own, and is trained with them.

    network: an nnx.Module whose `dynamics` they are; data: arrays that every loss reads. Both are there once it has begun.
    """

    network: Any
    data: Any

    def recipe(self) -> Mapping[str, Any]:
        """Its settings."""
        ...

    def begin(self, dynamics: OwnDynamics, frames: Frames, seed: int, refresh: Path | None) -> None:
        """Make the network; of a model to go on from, the one that lies there."""
        ...

    def loss(self, network: Any, data: Any, key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """What is added to the loss of an update, and its parts."""
        ...

    def save(self, folder: Path) -> None:
        """Put the network's own weights beside the world model's."""
        ...
