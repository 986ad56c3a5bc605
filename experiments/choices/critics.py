"""The choices of `critic=`: who says how far the task has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import value_model
from envs.errors import UserError
from experiments.choices.plain_critics import TimeIndex, VideoCritic
from experiments.lab.artifacts import digest, file_digest
from experiments.settings.config import require
from experiments.settings.plugins import resolve, source_digest
from value_model.critic.config import WVMConfig
from value_model.critic.types import Critic, SeeingCritic, TrainedCritic
from value_model.video.frames import Episodes

VERSION = 2  # of trained critics; raised when the same training gives other values
Progress = Callable[[str, int, int, dict[str, float]], None]


def pictures_critic(critic: Critic, name: str) -> SeeingCritic:
    """The critic as one that judges from pictures alone: it has `cameras` and `values(frames, instruction, fps)`.

    Args:
        name: what the critic is called in the error, such as critic=oracle.

    Raises:
        UserError: it needs more than pictures.
    """
    if not isinstance(critic, SeeingCritic):
        raise UserError(f"{name} does not judge from pictures alone; use one that does, such as critic=wvm")
    return critic


class ReadyChoice(Protocol):
    """A choice of `critic=` that needs no training."""

    def origin(self) -> str:
        """A digest of all that its values depend on."""
        ...

    def make(self) -> Critic:
        """The critic, ready to work."""
        ...


@runtime_checkable
class TrainableChoice(Protocol):
    """A choice of `critic=` that may have to be trained first; where not, it is a `ReadyChoice` too."""

    part: str  # the folder of its artifact that it is saved in
    data: CriticData
    model: WVMConfig

    @property
    def untrained(self) -> bool:
        """Whether it has to be trained."""
        ...

    def recipe(self) -> Mapping[str, Any]:
        """All that the result of `train` depends on, beside the episodes."""
        ...

    def train(self, episodes: Episodes, folder: Path, progress: Progress) -> TrainedCritic:
        """Train on `episodes`; `folder` keeps the checkpoints, from which a killed training goes on."""
        ...

    def load(self, folder: Path) -> Critic:
        """The critic that was saved in a folder."""
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


TINY_CRITIC = Path(value_model.__path__[0]) / "critic" / "shipped"


@dataclass(frozen=True)
class WVMChoice:
    """A trained world value model: the one that ships, or that in a folder of `experiments.train_critic`."""

    path: str = ""  # of the folder; empty: the critic that ships

    def origin(self) -> str:
        """See `ReadyChoice`."""
        return digest(["wvm", VERSION, *saved_digests(self._folder(), "world value model")])

    def make(self) -> Critic:
        """See `ReadyChoice`."""
        from value_model.critic.wvm import load_wvm

        return load_wvm(self._folder())

    def _folder(self) -> Path:
        return Path(self.path) if self.path else TINY_CRITIC


@dataclass(frozen=True)
class TrainChoice:
    """A world value model, trained anew on episodes of the task whose true values are known."""

    data: CriticData = field(default_factory=CriticData)
    model: WVMConfig = field(default_factory=WVMConfig)
    seed: int = 0

    part = "wvm"
    untrained = True

    def recipe(self) -> Mapping[str, Any]:
        """See `TrainableChoice`."""
        return {"model": self.model, "seed": self.seed}

    def train(self, episodes: Episodes, folder: Path, progress: Progress) -> TrainedCritic:
        """See `TrainableChoice`."""
        from value_model.critic.train import train_wvm

        return train_wvm(episodes, self.model, folder, self.seed, progress)

    def load(self, folder: Path) -> Critic:
        """See `TrainableChoice`."""
        from value_model.critic.wvm import load_wvm

        return load_wvm(folder)


@dataclass(frozen=True)
class OracleChoice:
    """True progress from the simulator's state: the upper bound of what a critic can give."""

    data: CriticData = field(default_factory=CriticData)


@dataclass(frozen=True)
class TimeIndexChoice:
    """Frame number over episode length: what a critic is worth that sees nothing."""

    def origin(self) -> str:
        """See `ReadyChoice`."""
        return "time_index"

    def make(self) -> Critic:
        """See `ReadyChoice`."""
        return TimeIndex()


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

    `name` is an object with `values`, a class that makes one without arguments, or a function
    (frames uint8 [T, H, W, 3], instruction) -> float32 [T] in [0, 1].
    """

    module: str = ""
    camera: str = "workspace"

    def origin(self) -> str:
        """See `ReadyChoice`; the user's file counts."""
        return digest([self, source_digest(resolve(self.module))])

    def make(self) -> Critic:
        """See `ReadyChoice`."""
        return VideoCritic.load(self.module, self.camera)


def saved_digests(folder: Path, what: str) -> list[str]:
    """Digests of the files of a critic that was saved.

    Raises:
        UserError: one is missing.
    """
    files = [folder / name for name in ("config.json", "model.safetensors")]
    for file in files:
        if not file.is_file():
            raise UserError(f"no {what} in {folder}: {file.name} is missing; check critic.path")
    return [file_digest(file) for file in files]


def sidecar_path(choice: SidecarChoice) -> Path:
    """The file.

    Raises:
        UserError: there is none.
    """
    path = Path(choice.path)
    if not path.is_file():
        raise UserError(f"no progress file {path}; check critic.path")
    return path
