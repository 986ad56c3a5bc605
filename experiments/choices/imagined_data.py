"""The choice `data=imagined`: a policy's own attempts in a world model."""

from __future__ import annotations

from dataclasses import dataclass, field

from experiments.choices.imagination import ImaginationChoice
from experiments.lab.seeds import first_seed
from experiments.settings.config import require


@dataclass(frozen=True)
class ImaginedData:
    """A policy's attempts in a world model, of which those are kept that look solved to the model's own classifier."""

    policy: str = ""  # of the first round: a run's folder, or its policy's; empty: `policy=` before training
    rounds: int = 1  # after each the policy is trained, and acts in the next
    episodes: int = 200  # attempts of a round
    solved: bool = True  # keep only those that look solved; false: all of them
    temperature: float = 1.0  # of action tokens
    execute: int = 4  # actions of every chunk that are executed before the policy looks again
    world: ImaginationChoice = field(default_factory=ImaginationChoice)
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.rounds >= 1, f"data.rounds={self.rounds} must be at least 1")
        require(self.episodes >= 1, f"data.episodes={self.episodes} must be at least 1")
        require(self.temperature > 0, f"data.temperature={self.temperature} must be positive")
        require(self.execute >= 1, f"data.execute={self.execute} must be at least 1")
        first_seed("own_rollouts", self.seed)
