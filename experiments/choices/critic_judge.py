"""The choice `reward=critic`: what the critic values the end of a rollout at, and the threshold beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.rollout import Rollout
from envs.types import Episode
from experiments.choices.critics import CriticSource
from experiments.choices.judges import JudgeSource, JudgeWorkshop, require_pictures
from experiments.settings.config import TaskConfig, require
from value_model.critic.types import Critic
from value_model.success.threshold import sweep_threshold

OF = ("last", "gain")


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

    def check(self) -> None:
        """See `RewardChoice`: its settings have been checked."""

    def source(self, workshop: JudgeWorkshop) -> JudgeSource:
        """See `RewardChoice`."""
        critic = workshop.critic()
        found = workshop.calibrated(self) if self.calibrate else {}
        resolved = replace(self, threshold=found.get("threshold", self.threshold), calibrate=0)
        return JudgeSource(
            lambda: critic_judge(resolved, critic, workshop.spec, workshop.task),
            resolved,
            {"critic": critic.digest},
            found,
        )


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


def critic_judge(reward: CriticReward, critic: CriticSource, spec: EnvSpec, task: TaskConfig) -> CriticJudge:
    """The critic as a judge.

    Raises:
        UserError: there is nothing to see.
    """
    require_pictures("critic", spec)
    return CriticJudge(reward, critic.load(), spec, task.name, task.robot)


def watched(rollout: Rollout, spec: EnvSpec, every: int, task: str, robot: str) -> Episode:
    """What a rollout showed, as an episode at the film's rate: there is no action, and its outcome is not told."""
    film, frames = rollout.filmed, len(rollout.filmed)
    return Episode(
        images=film.images,
        proprio=film.proprio,
        actions=np.zeros((frames, 0), np.float32),
        rewards=np.zeros(frames, np.float32),
        environment_state=film.environment_state,
        success=None,
        task=task,
        instruction=rollout.recorded.observation.instruction[0],
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
            f"all {len(success)} rollouts ended in {seen}, which sets no threshold; roll out more (reward.calibrate= "
            "of the critic, reward.rollouts= of the classifier), or choose another reward="
        )
    threshold, measured = sweep_threshold(values, success)
    return threshold, {**measured, "rollouts": float(len(values))}


def quality(verdict: np.ndarray, success: np.ndarray) -> tuple[float, float, float]:
    """F1, precision, recall of verdicts bool [R] against the truth bool [R]; 0 where there is nothing to divide by."""
    hits = float((verdict & success).sum())
    precision = hits / max(float(verdict.sum()), 1.0)
    recall = hits / max(float(success.sum()), 1.0)
    return 2 * precision * recall / max(precision + recall, 1e-9), precision, recall
