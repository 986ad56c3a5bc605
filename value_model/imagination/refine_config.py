"""Settings of frames that are made sharp after a regression has foretold their mean."""

from __future__ import annotations

from dataclasses import dataclass

from envs.errors import UserError


@dataclass(frozen=True)
class RefineConfig:
    """What a frame is drawn with, from the mean that is foretold. Not published."""

    steps: int = 0  # of Euler's method from the mean to a frame; 0: the mean itself is what is seen
    noise: float = 0.5  # standard deviation of what is added to the mean to begin with
    layers: int = 2  # of its network
    updates: int = 1200  # of its training, after the dynamics'

    def __post_init__(self) -> None:
        if self.steps < 0 or self.noise <= 0:
            raise UserError("refine.steps must not be negative, refine.noise above 0")
        if self.layers < 1 or self.updates < 1:
            raise UserError("refine.layers and refine.updates must be at least 1")
