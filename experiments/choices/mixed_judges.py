"""The choice `reward=mixture`: several judges together; and all judges with their settings side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from envs.errors import check_choice
from envs.fields import later
from envs.rollout import Rollout
from experiments.choices.critic_judge import CriticReward
from experiments.choices.judges import (
    Costly,
    EnvReward,
    Judge,
    JudgeSource,
    JudgeWorkshop,
    PluginReward,
    RewardChoice,
    SuccessReward,
)
from experiments.choices.second_opinion import SecondOpinionReward
from experiments.choices.seeing_judges import ClassifierReward, VLMReward
from experiments.settings.config import require
from experiments.settings.plugins import is_reference

RULES = ("mean", "all")


@dataclass(frozen=True)
class Judges:
    """Every judge with its settings; those that are asked are named elsewhere."""

    success: SuccessReward = field(default_factory=SuccessReward)
    env: EnvReward = field(default_factory=EnvReward)
    critic: CriticReward = field(default_factory=CriticReward)
    classifier: ClassifierReward = field(default_factory=ClassifierReward)
    vlm: VLMReward = field(default_factory=VLMReward)
    second_opinion: SecondOpinionReward = later(SecondOpinionReward())  # noqa: RUF009  (a field, as dataclasses.field is)

    def choice(self, name: str) -> RewardChoice:
        """The judge of this name, or `package.module:name` from outside.

        Raises:
            UserError: there is none.
        """
        if is_reference(name):
            return PluginReward(module=name)
        check_choice("judge", name, [field.name for field in fields(self)])
        return getattr(self, name)


@dataclass(frozen=True)
class MixtureReward:
    """Several judges: the weighted mean of their rewards, or the least of them, which for verdicts of 1 and 0 is `and`.

    Where one of them has no verdict there is none.
    """

    of: tuple[
        str, ...
    ] = ()  # who: success, env, critic, classifier, vlm, second_opinion, or package.module:name
    rule: str = "mean"  # or "all": the least
    weights: tuple[float, ...] = ()  # of the mean, in the order of `of`; empty: all alike
    judges: Judges = field(default_factory=Judges)  # their settings

    def __post_init__(self) -> None:
        check_choice("reward.rule", self.rule, RULES)
        require(len(set(self.of)) == len(self.of), f"reward.of={list(self.of)} names a judge twice")
        for name in self.of:
            self.judges.choice(name)
        if self.weights:
            require(
                self.rule == "mean",
                "reward.weights are those of the mean: leave them out with reward.rule=all",
            )
            require(
                len(self.weights) == len(self.of),
                f"reward.weights has {len(self.weights)} numbers for the {len(self.of)} judges of reward.of",
            )
            require(
                min(self.weights) >= 0 and sum(self.weights) > 0,
                f"reward.weights={list(self.weights)} must not be negative, and one must be positive",
            )

    @property
    def asks_critic(self) -> bool:
        """See `RewardChoice`."""
        return any(self.judges.choice(name).asks_critic for name in self.of)

    def check(self) -> None:
        """See `RewardChoice`.

        Raises:
            UserError: nobody is named, or one of them lacks something.
        """
        require(len(self.of) > 0, "reward=mixture needs judges: reward.of=[critic,classifier]")
        for name in self.of:
            self.judges.choice(name).check()

    def source(self, workshop: JudgeWorkshop) -> JudgeSource:
        """See `RewardChoice`."""
        self.check()
        parts = {name: self.judges.choice(name).source(workshop) for name in self.of}
        weights = self.weights or (1.0,) * len(self.of)
        settings = {
            "reward": "mixture",
            "rule": self.rule,
            "weights": weights,
            "of": {name: part.settings for name, part in parts.items()},
        }
        return JudgeSource(
            lambda: MixtureJudge(tuple(part.load() for part in parts.values()), self.rule, weights),
            settings,
            {f"{name} {role}": given for name, part in parts.items() for role, given in part.inputs.items()},
            {
                f"{name}_{what}": number
                for name, part in parts.items()
                for what, number in part.calibration.items()
            },
        )


@dataclass(frozen=True)
class MixtureJudge:
    """A `Judge`: several, each of which sees the pictures that it wants."""

    parts: tuple[Judge, ...]
    rule: str
    weights: tuple[float, ...]

    @property
    def film(self) -> int:
        """See `Judge`."""
        return shared_film(self.parts)

    @property
    def cost(self) -> Mapping[str, int]:
        """See `Costly`."""
        total: dict[str, int] = {}
        for part in self.parts:
            if isinstance(part, Costly):
                total |= {what: total.get(what, 0) + count for what, count in part.cost.items()}
        return total

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """See `Judge`."""
        given = np.stack([part.rewards(narrowed(rollouts, part.film)) for part in self.parts])
        if self.rule == "all":
            return given.min(axis=0)
        return np.average(given, axis=0, weights=self.weights).astype(np.float32)


def shared_film(judges: Sequence[Judge]) -> int:
    """Every how many control steps rollouts are filmed so that each judge has the pictures that it wants."""
    return math.gcd(*(judge.film for judge in judges))


def narrowed(rollouts: Sequence[Rollout], film: int) -> list[Rollout]:
    """Rollouts that were filmed for several judges as one with `film` wants them; 0: it does not look."""
    return [_narrowed(rollout, film) if film else rollout for rollout in rollouts]


def _narrowed(rollout: Rollout, film: int) -> Rollout:
    return replace(rollout, recording=replace(rollout.recorded, film=rollout.filmed.every(film)))
