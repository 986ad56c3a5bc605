"""The choices of `act=`: how a policy acts where it is measured."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.choices.imagination import ImaginationChoice
from experiments.settings.config import require


@dataclass(frozen=True)
class PolicyAct:
    """It does what it draws."""


@dataclass(frozen=True)
class BestOfNAct:
    """It draws several chunks, a world model imagines each, and the judge of `reward=` says which is done."""

    n: int = 8
    steps: int = 8  # control steps of a chunk that are imagined
    path: str = ""  # the world model's folder; empty: the one that ships

    def __post_init__(self) -> None:
        require(self.n >= 1, f"act.n={self.n} must be at least 1")
        require(self.steps >= 1, f"act.steps={self.steps} must be at least 1")

    def env(self, worlds: int) -> ImaginationChoice:
        """Where its candidates are tried."""
        return ImaginationChoice(path=self.path, worlds=worlds, horizon=self.steps)
