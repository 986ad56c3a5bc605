"""The choices of `reward=`: who says how good a rollout was.

A judge gives each rollout a reward, or NaN where it has no verdict: such a rollout's group is drawn again, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.rollout import Rollout
from envs.types import Episode
from experiments.lab.artifacts import digest
from experiments.settings.config import require
from experiments.settings.plugins import resolve, source_digest
from value_model.critic.types import Critic

OF = ("last", "gain")


class Judge(Protocol):
    """Who says how good a rollout was."""

    @property
    def film(self) -> int:
        """Every how many control steps it wants to see; the last is always there. 0: it looks at nothing."""
        ...

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """float32 [R], in order; NaN: no verdict."""
        ...


class RewardChoice(Protocol):
    """A choice of `reward=`."""

    @property
    def asks_critic(self) -> bool:
        """Whether it judges by the critic of `critic=`."""
        ...

    def origin(self) -> str:
        """A digest of all that it depends on beside its settings: "" for what has a version here."""
        ...


@dataclass(frozen=True)
class SuccessReward:
    """1 for a solved task, else 0; no verdict where the environment does not say."""

    asks_critic = False
    film = 0

    def origin(self) -> str:
        """See `RewardChoice`."""
        return ""

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """See `Judge`."""
        known = [np.nan if rollout.success is None else float(rollout.success) for rollout in rollouts]
        return np.array(known, np.float32)


@dataclass(frozen=True)
class EnvReward:
    """The environment's own reward, summed over the rollout."""

    asks_critic = False
    film = 0

    def origin(self) -> str:
        """See `RewardChoice`."""
        return ""

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """See `Judge`."""
        return np.array([rollout.reward for rollout in rollouts], np.float32)


@dataclass(frozen=True)
class CriticReward:
    """The critic's value of what the rollout ended with, or its gain over the rollout; 1 or 0 beside a threshold."""

    of: str = "last"  # or "gain": the last value less the first
    every: int = 4  # control steps between the pictures that the critic sees
    threshold: float | None = None  # reward 1 from this value on, else 0; none: the value itself
    calibrate: int = (
        0  # rollouts of the policy before training on which the threshold is set, by their true success
    )

    asks_critic = True

    def __post_init__(self) -> None:
        require(self.of in OF, f"reward.of={self.of} must be one of {', '.join(OF)}")
        require(self.every >= 1, f"reward.every={self.every} must be at least 1")
        require(self.calibrate >= 0, f"reward.calibrate={self.calibrate} must not be negative")
        require(
            not (self.calibrate and self.threshold is not None),
            "reward.calibrate sets the threshold: leave reward.threshold out",
        )

    def origin(self) -> str:
        """See `RewardChoice`."""
        return ""


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

    def origin(self) -> str:
        """See `RewardChoice`; the user's file counts."""
        return digest(source_digest(resolve(self.module)))

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


@dataclass(frozen=True)
class CriticJudge:
    """A `Judge`: the critic's values of what rollouts showed, in an environment, at a task, by a robot."""

    reward: CriticReward
    critic: Critic
    spec: EnvSpec
    task: str
    robot: str

    @property
    def film(self) -> int:
        """See `Judge`."""
        return self.reward.every

    def values(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """float32 [R]: what a threshold is applied to."""
        films = [watched(rollout, self.spec, self.film, self.task, self.robot) for rollout in rollouts]
        ends = [(values[0], values[-1]) for values in self.critic.label(iter(films))]
        first, last = np.array(ends, np.float32).reshape(-1, 2).T
        return last if self.reward.of == "last" else last - first

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """See `Judge`."""
        values, threshold = self.values(rollouts), self.reward.threshold
        if threshold is None:
            return values
        return np.where(np.isnan(values), np.nan, values >= threshold).astype(np.float32)


def watched(rollout: Rollout, spec: EnvSpec, every: int, task: str, robot: str) -> Episode:
    """What a rollout showed, as an episode at the film's rate: there is no action, and its outcome is not told."""
    recording = rollout.recording
    assert recording is not None and recording.film is not None, "a judge's rollouts are recorded and filmed"
    film, frames = recording.film, len(recording.film)
    return Episode(
        images=film.images,
        proprio=film.proprio,
        actions=np.zeros((frames, 0), np.float32),
        rewards=np.zeros(frames, np.float32),
        environment_state=film.environment_state,
        success=None,
        task=task,
        instruction=recording.observation.instruction[0],
        robot=robot,
        seed=rollout.seed,
        fps=spec.control_rate / every,
    )


def best_threshold(values: np.ndarray, success: np.ndarray) -> tuple[float, Mapping[str, float]]:
    """The threshold whose verdicts `values >= threshold` have the best F1 against `success` bool [R], and how good they are.

    Halfway between the two values that it separates; of equally good ones the highest.

    Raises:
        UserError: one of the two outcomes is missing.
    """
    if success.all() or not success.any():
        seen = "success" if success.any() else "failure"
        raise UserError(
            f"reward.calibrate: all {len(success)} rollouts ended in {seen}, which sets no threshold; roll out more, "
            "or set reward.threshold"
        )
    order = np.unique(values)
    cuts = np.append((order[1:] + order[:-1]) / 2, order[0])
    found = [(*_quality(values >= cut, success), cut) for cut in cuts]
    f1, precision, recall, cut = max(found, key=lambda entry: (entry[0], entry[3]))
    quality: dict[str, Any] = {
        "f1": f1,
        "precision": precision,
        "recall": recall,
        "rollouts": float(len(values)),
    }
    return float(cut), quality


def _quality(verdict: np.ndarray, success: np.ndarray) -> tuple[float, float, float]:
    """F1, precision, recall."""
    hits = float((verdict & success).sum())
    precision = hits / max(float(verdict.sum()), 1.0)
    recall = hits / float(success.sum())
    return 2 * precision * recall / max(precision + recall, 1e-9), precision, recall
