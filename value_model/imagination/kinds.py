"""The dynamics that are trained here, by their configuration."""

from __future__ import annotations

from flax import nnx

from value_model.imagination.config import ImaginationConfig
from value_model.imagination.flow import Flow
from value_model.imagination.regression import Regression

OwnDynamics = Regression | Flow


def new_dynamics(config: ImaginationConfig, *, rngs: nnx.Rngs) -> OwnDynamics:
    """Dynamics with random weights."""
    return (
        Flow(config, config.flow, rngs=rngs) if config.dynamics == "flow" else Regression(config, rngs=rngs)
    )
