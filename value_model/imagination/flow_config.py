"""Settings of flow matching with diffusion forcing."""

from __future__ import annotations

from dataclasses import dataclass

from envs.errors import UserError


@dataclass(frozen=True)
class FlowConfig:
    """What flow matching adds to a world model's settings. Published: WorldGym."""

    window: int = 8  # frames that a frame sees, itself included; published 20
    steps: int = 2  # of Euler's method a frame, 1 to 10 in use; published 10
    guidance: float = 1.0  # on the action; 1: none; published 3 for mixed robots, 1 for Bridge
    context_noise: float = (
        0.1  # known frames are labelled and scaled with τ = 1 − this; published 14 of 1000 levels
    )
    noisier: float = 3.0  # training's flow times are u / (u + noisier (1 − u)), u uniform; published 1

    def __post_init__(self) -> None:
        if self.window < 2 or self.steps < 1:
            raise UserError("flow.window must be at least 2, flow.steps at least 1")
        if not 0 <= self.context_noise < 1 or self.noisier <= 0:
            raise UserError("flow.context_noise must lie in [0, 1), flow.noisier above 0")
