"""The optimiser's steps by hand, and a folder that belongs to one run."""

from pathlib import Path

import jax.numpy as jnp
import pytest

from envs.errors import UserError
from value_model.video.config import OptimConfig
from value_model.video.recipe import claim, make_optimizer


def _steps(optim: OptimConfig, count: int) -> list[float]:
    """What each of `count` updates adds to a parameter that stays at 2, under a gradient that stays at 3."""
    optimizer = make_optimizer(optim, 10)
    parameter, gradient = jnp.array([2.0]), jnp.array([3.0])
    state, steps = optimizer.init(parameter), []
    for _ in range(count):
        step, state = optimizer.update(gradient, state, parameter)
        steps.append(float(step[0]))
    return steps


def test_warm_up_and_decay_by_hand() -> None:
    """Under a constant gradient AdamW steps by the learning rate: 0, ½ and all of it, a tenth at the end."""
    steps = _steps(OptimConfig(learning_rate=0.1, warmup=2, final_learning_rate=0.1), 11)
    assert steps[:3] == pytest.approx([0.0, -0.05, -0.1], abs=1e-5)
    assert steps[6] == pytest.approx(-0.055, abs=1e-5)  # halfway down the cosine
    assert steps[10] == pytest.approx(-0.01, abs=1e-5)


def test_weight_decay_by_hand() -> None:
    steps = _steps(OptimConfig(learning_rate=0.1, warmup=2, weight_decay=0.5), 3)
    assert steps[2] == pytest.approx(-0.1 * (1 + 0.5 * 2.0), abs=1e-5)


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    claim(tmp_path, {"seed": 0})
    claim(tmp_path, {"seed": 0})
    with pytest.raises(UserError, match="another configuration or seed"):
        claim(tmp_path, {"seed": 1})
