"""The choice `reward=second_opinion`: success on which another world model agrees.

Whoever learns in a world model finds what that model alone believes. Another one, of other data or another seed, has other
mistakes: what was done is imagined again there, from the first picture under the same actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from envs.contract import EnvSpec
from envs.rollout import Rollout
from experiments.choices.imagination import ImaginationChoice
from experiments.choices.judges import JudgeSource, JudgeWorkshop, require_pictures
from experiments.choices.seeing_judges import told
from experiments.settings.config import require

if TYPE_CHECKING:
    from value_model.imagination.verdicts import Attempt
    from value_model.imagination.world_model import WorldModel


@dataclass(frozen=True)
class SecondOpinionReward:
    """1 where the environment says solved and, of the same actions, another world model too; else 0.

    No verdict where the environment does not say.
    """

    path: str = ""  # folder of the other world model; empty: the one that ships
    minimum: int = 8  # control steps before which nothing counts as success there

    asks_critic = False

    def __post_init__(self) -> None:
        require(self.minimum >= 0, f"reward.minimum={self.minimum} must not be negative")

    def check(self) -> None:
        """See `RewardChoice`.

        Raises:
            UserError: there is no such world model, or it cannot tell what is solved.
        """
        require(
            self._choice.world.solved is not None,
            f"reward.path: the world model in {self.path or 'what ships'} has learnt of no outcome and cannot tell what is "
            "solved; give another",
        )

    def source(self, workshop: JudgeWorkshop) -> JudgeSource:
        """See `RewardChoice`."""
        self.check()
        require_pictures("second_opinion", workshop.spec)
        world, spec = self._choice.world, workshop.spec
        _check_fit(world, spec)
        settings = {"reward": "second_opinion", "minimum": self.minimum}
        return JudgeSource(
            lambda: SecondOpinion(world, spec.horizon, self.minimum),
            settings,
            {"world": self._choice.origin()},
        )

    @property
    def _choice(self) -> ImaginationChoice:
        return ImaginationChoice(path=self.path)


@dataclass(frozen=True)
class SecondOpinion:
    """A `Judge`. film: control steps of an episode, so that the first picture is there and few others."""

    world: WorldModel
    film: int
    minimum: int

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """See `Judge`; what the environment calls failed is not imagined again."""
        from value_model.imagination.verdicts import look_solved

        said = np.array(
            [np.nan if one.success is None else float(one.success) for one in rollouts], np.float32
        )
        solved = np.flatnonzero(said == 1)
        attempts = (self._attempt(rollouts[row]) for row in solved.tolist())
        said[solved] = look_solved(self.world, attempts, self.minimum)
        return said

    def _attempt(self, rollout: Rollout) -> Attempt:
        from value_model.imagination.verdicts import Attempt

        film, cameras = rollout.filmed, self.world.config.cameras
        picture = np.concatenate([film.images[camera][0] for camera in cameras], axis=1)
        return Attempt(picture, film.proprio[0], rollout.recorded.actions(), told(rollout))


def _check_fit(world: WorldModel, spec: EnvSpec) -> None:
    """Refuse a world model that would see or be told something else."""
    config, size = world.config, world.config.tokenizer.image_size
    for what, other, own in (
        ("cameras", {name: (size, size) for name in config.cameras}, _shown(spec, config.cameras)),
        ("numbers of proprioception", config.proprio_dim, spec.proprio_dim),
        ("numbers an action", config.action_dim, spec.action_dim),
        ("control steps a second", config.control_rate, spec.control_rate),
    ):
        require(
            other == own,
            f"reward.path: the other world model has {what} {other}, and where the policy acts there are {own}; give one "
            "that was trained on the same",
        )


def _shown(spec: EnvSpec, cameras: Sequence[str]) -> dict[str, tuple[int, int]]:
    return {name: spec.cameras[name] for name in cameras if name in spec.cameras}
