"""The dynamics that are trained here, by their configuration."""

from __future__ import annotations

from flax import nnx

from value_model.imagination.config import ImaginationConfig
from value_model.imagination.flow import Flow
from value_model.imagination.refine import Refined
from value_model.imagination.regression import Regression

OwnDynamics = Regression | Flow | Refined


def new_dynamics(config: ImaginationConfig, *, rngs: nnx.Rngs) -> OwnDynamics:
    """Dynamics with random weights."""
    if config.dynamics == "flow":
        return Flow(config, config.flow, rngs=rngs)
    return Refined(config, rngs=rngs) if config.refine.steps else Regression(config, rngs=rngs)
