"""The choices of `reward=`: who says how good a rollout was.

A judge gives each rollout a reward, or NaN where it has no verdict: such a rollout's group is drawn again, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.rollout import Rollout
from experiments.choices.critics import CriticSource
from experiments.lab.artifacts import digest
from experiments.settings.config import TaskConfig, require
from experiments.settings.plugins import resolve, source_digest


class Judge(Protocol):
    """Who says how good a rollout was."""

    @property
    def film(self) -> int:
        """Every how many control steps it wants to see; the last is always there. 0: it looks at nothing."""
        ...

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """float32 [R], in order; NaN: no verdict."""
        ...


@runtime_checkable
class Graded(Protocol):
    """A judge whose verdicts are numbers beside a threshold."""

    def values(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """float32 [R]: the numbers."""
        ...


@runtime_checkable
class Costly(Protocol):
    """A judge that asks somebody who has to be paid."""

    @property
    def cost(self) -> Mapping[str, int]:
        """{what was asked for: how often so far}."""
        ...


@dataclass(frozen=True)
class JudgeSource:
    """A judge that is ready to be loaded.

    settings: all that its rewards depend on, beside `inputs`: {role: digest};
    calibration: how well it tells success on rollouts whose outcome is known, empty where that was not measured.
    """

    load: Callable[[], Judge]
    settings: Any
    inputs: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Learned:
    """A part of a judge that was learned from rollouts: its folder, and a digest of all that it was made from."""

    folder: Path
    digest: str


class JudgeWorkshop(Protocol):
    """What a judge is made of: where it shall judge, the critic, and rollouts whose outcome is known."""

    @property
    def spec(self) -> EnvSpec:
        """What rollouts show."""
        ...

    @property
    def task(self) -> TaskConfig:
        """What they are attempts at."""
        ...

    def critic(self) -> CriticSource:
        """The critic of `critic=`."""
        ...

    def calibrated(self, choice: Any) -> Mapping[str, float]:
        """The threshold of a `CriticReward` with the best F1: threshold, f1, precision, recall, rollouts."""
        ...

    def classifier(self, choice: Any) -> Learned:
        """The success classifier of a `ClassifierReward`, trained."""
        ...


class RewardChoice(Protocol):
    """A choice of `reward=`: a dataclass whose fields are its settings."""

    @property
    def asks_critic(self) -> bool:
        """Whether it judges by the critic of `critic=`."""
        ...

    def check(self) -> None:
        """Say now, before any long work, what would be wrong later.

        Raises:
            UserError: what is wrong.
        """
        ...

    def source(self, workshop: JudgeWorkshop) -> JudgeSource:
        """The judge: at hand, or made in the workshop."""
        ...


@dataclass(frozen=True)
class SuccessReward:
    """1 for a solved task, else 0; no verdict where the environment does not say."""

    asks_critic = False
    film = 0

    def check(self) -> None:
        """See `RewardChoice`: nothing can be wrong."""

    def source(self, workshop: JudgeWorkshop) -> JudgeSource:
        """See `RewardChoice`."""
        return JudgeSource(lambda: self, self)

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """See `Judge`."""
        known = [np.nan if rollout.success is None else float(rollout.success) for rollout in rollouts]
        return np.array(known, np.float32)


@dataclass(frozen=True)
class EnvReward:
    """The environment's own reward, summed over the rollout."""

    asks_critic = False
    film = 0

    def check(self) -> None:
        """See `RewardChoice`: nothing can be wrong."""

    def source(self, workshop: JudgeWorkshop) -> JudgeSource:
        """See `RewardChoice`."""
        return JudgeSource(lambda: self, self)

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """See `Judge`."""
        return np.array([rollout.reward for rollout in rollouts], np.float32)


@dataclass(frozen=True)
class PluginReward:
    """A judge from anywhere, `reward=package.module:name`: a function of rollouts that gives one reward each.

    NaN says that there is no verdict.
    """

    module: str = ""
    film: int = 4  # control steps between the pictures in a rollout's `recording.film`; 0: none

    asks_critic = False

    def __post_init__(self) -> None:
        require(self.film >= 0, f"reward.film={self.film} must not be negative")

    def check(self) -> None:
        """See `RewardChoice`: it can be imported.

        Raises:
            UserError: it cannot.
        """
        resolve(self.module)

    def source(self, workshop: JudgeWorkshop) -> JudgeSource:
        """See `RewardChoice`; the user's file counts."""
        return JudgeSource(lambda: self, self, {"judge": digest(source_digest(resolve(self.module)))})

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """See `Judge`.

        Raises:
            UserError: it gave something else than a number for each rollout.
        """
        given = np.asarray(resolve(self.module)(rollouts), np.float32)
        if given.shape != (len(rollouts),) or np.isinf(given).any():
            raise UserError(
                f"reward={self.module} gave {given.shape} for {len(rollouts)} rollouts; give each one finite number, or NaN"
            )
        return given


def require_pictures(name: str, spec: EnvSpec) -> None:
    """Raise a `UserError` where a judge that looks has nothing to look at."""
    require(
        bool(spec.cameras),
        f"reward={name} judges from pictures, and the environment shows none; use another reward=",
    )
