"""The choices of `critic=`: who says how far the task has come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import value_model
from envs.errors import UserError
from envs.types import Episode
from experiments.config import require
from experiments.oracle import Oracle
from experiments.plugins import resolve
from value_model.config import WVMConfig


class Critic(Protocol):
    """A frozen critic at work."""

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] in [0, 1] of every episode, in order."""
        ...


@dataclass(frozen=True)
class CriticData:
    """Episodes that a critic learns from: how many of each style.

    Those with a hesitation or a retry carry its exact ends, from which their true values follow; with none of
    them, the critic learns from undisturbed experts alone, as published.
    """

    clean: int = 40
    noisy: int = 20
    slow: int = 20
    hesitation: int = 20
    retry: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.clean, self.noisy, self.slow, self.hesitation, self.retry)
        require(min(counts) >= 0, "critic.data: numbers must not be negative")
        require(
            max(self.clean, self.noisy, self.slow) > 0,
            "critic.data: one of clean, noisy and slow must have episodes",
        )

    @property
    def styles(self) -> dict[str, int]:
        """{style: number of episodes} of the styles that occur."""
        names = ("clean", "noisy", "slow", "hesitation", "retry")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


TINY_CRITIC = Path(value_model.__path__[0]) / "tiny_critic"


@dataclass(frozen=True)
class WVMChoice:
    """A trained world value model: the one that ships, or that in a folder of `experiments.train_critic`."""

    path: str = ""  # of the folder; empty: the critic that ships

    @property
    def folder(self) -> Path:
        """Where the model is."""
        return Path(self.path) if self.path else TINY_CRITIC


@dataclass(frozen=True)
class TrainChoice:
    """A world value model, trained anew on episodes of the task whose true values are known."""

    data: CriticData = field(default_factory=CriticData)
    model: WVMConfig = field(default_factory=WVMConfig)
    seed: int = 0


@dataclass(frozen=True)
class OracleChoice:
    """True progress from the simulator's state: the upper bound of what a critic can give."""

    data: CriticData = field(default_factory=CriticData)


@dataclass(frozen=True)
class TimeIndexChoice:
    """Frame number over episode length: what a critic is worth that sees nothing."""


@dataclass(frozen=True)
class SidecarChoice:
    """Values that another tool wrote: a progress file in LeRobot's format (`sarm_progress.parquet`)."""

    path: str = ""

    def __post_init__(self) -> None:
        require(
            bool(self.path),
            "critic=sidecar needs a progress file: critic.path=/path/to/sarm_progress.parquet",
        )


@dataclass(frozen=True)
class PluginCritic:
    """A critic from anywhere, `critic=package.module:name`.

    `name` is a `value_model.types.ValueModel`, a class that makes one without arguments, or a function
    (frames uint8 [T, H, W, 3], instruction) -> float32 [T] in [0, 1].
    """

    module: str = ""
    camera: str = "workspace"


@dataclass(frozen=True)
class TimeIndex:
    """Frame number over episode length."""

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        for episode in episodes:
            yield np.linspace(0, 1, len(episode), dtype=np.float32)


@dataclass(frozen=True)
class StateCritic:
    """The oracle as a critic."""

    oracle: Oracle

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        return (self.oracle.values(episode) for episode in episodes)


@dataclass(frozen=True)
class VideoCritic:
    """A user's ValueModel or function, one episode at a time, its values checked."""

    values: Any
    name: str
    camera: str

    @classmethod
    def load(cls, choice: PluginCritic) -> VideoCritic:
        """Import it.

        Raises:
            UserError: it cannot be imported, or is nothing that gives values.
        """
        thing = resolve(choice.module)
        thing = thing() if isinstance(thing, type) else thing
        values = getattr(thing, "values", thing)
        if not callable(values):
            raise UserError(f"{choice.module} is no critic: it needs values(frames, instruction) -> [T]")
        return cls(values, choice.module, choice.camera)

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        for number, episode in enumerate(episodes):
            if self.camera not in episode.images:
                known = ", ".join(sorted(episode.images)) or "none"
                raise UserError(f"the data has no camera {self.camera!r} for the critic (it has {known})")
            yield self.check(
                self.values(episode.images[self.camera], episode.instruction), len(episode), number
            )

    def check(self, values: Any, length: int, number: int) -> np.ndarray:
        """The values of episode `number` as float32 [length].

        Raises:
            UserError: wrong shape, not finite, or outside [0, 1].
        """
        array = np.asarray(values, np.float32)
        if array.shape != (length,):
            raise UserError(
                f"{self.name} gave values of shape {array.shape} for {length} frames; give one a frame"
            )
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise UserError(f"{self.name} gave values outside [0, 1] in episode {number}; clip or scale them")
        return array


def sidecar_path(choice: SidecarChoice) -> Path:
    """The file.

    Raises:
        UserError: there is none.
    """
    path = Path(choice.path)
    if not path.is_file():
        raise UserError(f"no progress file {path}; check critic.path")
    return path
