"""The choice `env=none`: there is nowhere to act. A policy learns from recordings and is measured on held-out ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from envs.contract import ChunkEnvs, EnvSpec
from envs.errors import UserError, check_choice
from experiments.choices.environments import EnvChoice
from experiments.settings.config import TaskConfig, require

SCALES = ("quantiles", "range", "mean_std", "none")
NOWHERE = "env=none is for data alone: nothing acts there; choose env=robosuite, gym or imagination"


@dataclass(frozen=True)
class NoEnv:
    """Which episodes measure the policy, and how the data's numbers become those that it reads and gives.

    quantiles: the 1 % and 99 % quantiles are −1 and 1; range: the least and the greatest; mean_std: the mean is 0, a
    standard deviation 1; none: as recorded. Of the training episodes; a policy that has statistics of its own gets its
    numbers as recorded.
    """

    held_out: float = 0.1  # share of the episodes that nothing is trained on; from 1 on, their number
    seed: int = 0  # of which they are
    scale: str = "quantiles"  # or "range", "mean_std", "none"

    def __post_init__(self) -> None:
        check_choice("env.scale", self.scale, SCALES)
        require(
            0 < self.held_out < 1 or (self.held_out >= 2 and self.held_out == int(self.held_out)),
            f"env.held_out={self.held_out:g} must be a share of the episodes below 1, or their number, at least 2",
        )
        require(self.seed >= 0, f"env.seed={self.seed} must not be negative")

    def count(self, episodes: int) -> int:
        """How many of so many episodes are held out: at least 2, so that there is an interval.

        Raises:
            UserError: none is left to train on.
        """
        count = int(self.held_out) if self.held_out >= 1 else max(2, round(self.held_out * episodes))
        require(
            count < episodes,
            f"{count} of {episodes} episodes are to be held out, which leaves none to train on; "
            "lower env.held_out, or record more",
        )
        return count

    @property
    def horizon(self) -> int:
        """See `EnvChoice`: there is none."""
        self._refuse()

    def spec(self, task: TaskConfig) -> EnvSpec:
        """See `EnvChoice`: there is none."""
        self._refuse()

    def make(self, task: TaskConfig, spec: EnvSpec, workers: int, execute: int, linger: int = 0) -> ChunkEnvs:
        """See `EnvChoice`: there is none."""
        self._refuse()

    def place(self, task: TaskConfig) -> str:
        """See `EnvChoice`."""
        return "held-out"

    def origin(self) -> str:
        """See `EnvChoice`."""
        return ""

    def rows(self, workers: int) -> int:
        """See `EnvChoice`: there is none."""
        self._refuse()

    @property
    def real(self) -> EnvChoice:
        """See `EnvChoice`."""
        return self

    def film_task(self, task: TaskConfig) -> TaskConfig:
        """See `EnvChoice`."""
        return task

    def _refuse(self) -> NoReturn:
        raise UserError(NOWHERE)
