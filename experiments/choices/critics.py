"""What a choice of `critic=` is: who says how far the task has come, and what it takes to have it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from envs.errors import UserError
from envs.types import Episode
from experiments.lab.artifacts import file_digest
from experiments.settings.config import require
from value_model.critic.types import Critic, SeeingCritic, TrainedCritic
from value_model.video.frames import Episodes

VERSION = 2  # of trained critics; raised when the same training gives other values
Progress = Callable[[str, int, int, dict[str, float]], None]
"""(phase, updates done, updates in all, {metric: value})."""


@dataclass(frozen=True)
class CriticSource:
    """A critic that is ready to be loaded; `digest` stands for all that its values depend on.

    file: a progress file that holds its values of one data set, where there is nothing to load;
    folder: where it was saved, if it was trained.
    """

    digest: str
    load: Callable[[], Critic]
    file: Path | None = None
    folder: Path | None = None


class CriticChoice(Protocol):
    """A choice of `critic=`: a dataclass whose fields are its settings."""

    @property
    def blind(self) -> str:
        """Why its critic cannot judge from pictures alone; empty: it can."""
        ...

    def check(self, episodes: Sequence[Episode]) -> None:
        """Say now, before any long work, what would be wrong later.

        Args:
            episodes: two, in the shapes of those that it will judge.

        Raises:
            UserError: what is wrong.
        """
        ...

    def views(self) -> tuple[str, ...]:
        """The cameras that it looks through; empty: none, or all that there are."""
        ...

    def source(self, workshop: Workshop) -> CriticSource:
        """The critic: at hand, or made in the workshop."""
        ...


@runtime_checkable
class TrainableChoice(CriticChoice, Protocol):
    """A choice whose critic has to be trained, unless it is `at_hand`; its `source` is then `workshop.trained`.

    One that JAX can train over several hosts says so by `over = "jax"`, see `value_model.video.hosts`.
    """

    part: str  # the folder of its artifact that it is saved in
    data: CriticData

    @property
    def at_hand(self) -> bool:
        """Whether it was trained before."""
        ...

    @property
    def about(self) -> str:
        """What it is and what it learns from, for the card that goes with a trained one."""
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


class Demonstrations(Protocol):
    """Episodes without pictures, and what stands for their content."""

    @property
    def digest(self) -> str: ...

    def numbers(self) -> Iterator[Episode]: ...


class Workshop(Protocol):
    """Where critics are made: what a choice may ask for."""

    def trained(self, choice: TrainableChoice) -> CriticSource:
        """The choice's critic, trained on `choice.data`."""
        ...

    def demonstrations(self, data: CriticData) -> Mapping[str, Demonstrations]:
        """{task-robot: episodes with the simulator's state} of all that the critic will be asked about."""
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


def require_sight(choice: CriticChoice, use: str) -> None:
    """Refuse a choice whose critic needs more than pictures; before any work.

    Args:
        use: what only a critic that sees can judge, such as rollouts.

    Raises:
        UserError: it is blind.
    """
    if choice.blind:
        raise UserError(
            f"{choice.blind}: it cannot judge {use}; choose one that judges from pictures alone, such as critic=wvm"
        )


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


def require_training(choice: CriticChoice, name: str) -> TrainableChoice:
    """The choice as one whose critic is yet to be trained.

    Raises:
        UserError: there is nothing to train.
    """
    if not isinstance(choice, TrainableChoice):
        raise UserError(f"{name} cannot be trained; use critic=train, or one of your own with train and load")
    if choice.at_hand:
        raise UserError(f"{name} is trained already; leave critic.path out to train another")
    return choice


def saved_cameras(folder: Path, part: str = "") -> tuple[str, ...]:
    """The cameras in the config.json of a critic that was saved, or in its part of that name.

    Raises:
        UserError: it is missing or damaged.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"no critic in {folder}: config.json is missing; check critic.path")
    try:
        config = json.loads((folder / "config.json").read_text())
        return tuple((config[part] if part else config)["cameras"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{folder} holds no whole config.json of a critic ({error}); check critic.path"
        ) from error


def saved_digests(folder: Path, what: str, setting: str = "critic.path") -> list[str]:
    """Digests of the files of a critic that was saved.

    Args:
        what: the kind of critic; setting: what named the folder.

    Raises:
        UserError: one is missing.
    """
    files = [folder / name for name in ("config.json", "model.safetensors")]
    for file in files:
        if not file.is_file():
            raise UserError(f"no {what} in {folder}: {file.name} is missing; check {setting}")
    return [file_digest(file) for file in files]
