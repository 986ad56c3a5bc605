"""Every purpose has a range of seeds of its own, so that no episode is used for two of them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from envs.errors import UserError

Purpose = Literal[
    "policy_data",
    "critic_data",
    "held_out",
    "evaluation",
    "rollouts",
    "pretraining",
    "pretraining_check",
    "critic_mixture",
    "value_bench",
    "own_rollouts",
    "calibration",
    "world_model",
    "world_model_held_out",
    "fidelity",
    "judging",
    "test_scene",
    "branches",
    "branch_check",
    "start_pictures",
]

RANGE = 400_000_000  # seeds of a purpose
RUN_RANGE = 400_000  # seeds of one run within a purpose's range
STARTS: dict[Purpose, int] = {
    "policy_data": 0 * RANGE,
    "critic_data": 1 * RANGE,
    "held_out": 2 * RANGE,
    "evaluation": 3 * RANGE,
    "rollouts": 4 * RANGE,
    "pretraining": 5 * RANGE,
    "pretraining_check": 6 * RANGE,
    "critic_mixture": 7 * RANGE,
    "value_bench": 8 * RANGE,
    "own_rollouts": 9 * RANGE,
    "calibration": 10 * RANGE,
    "world_model": 11 * RANGE,
    "world_model_held_out": 12 * RANGE,
    "fidelity": 13 * RANGE,
    "judging": 14 * RANGE,
    "test_scene": 17 * RANGE,
    "branches": 15 * RANGE,
    "branch_check": 16 * RANGE,
    "start_pictures": 18 * RANGE,
}


def first_seed(purpose: Purpose, run_seed: int) -> int:
    """The first seed of a run's range of `RUN_RANGE` seeds for this purpose.

    Raises:
        UserError: the run's seed is negative or 1000 and above.
    """
    if not 0 <= run_seed < RANGE // RUN_RANGE:
        raise UserError(f"seed={run_seed} is out of range; seeds go from 0 to {RANGE // RUN_RANGE - 1}")
    return STARTS[purpose] + run_seed * RUN_RANGE


def seeds(purpose: Purpose, run_seed: int, count: int) -> np.ndarray:
    """The first `count` seeds of a run's range for this purpose: int64 [count]."""
    if count > RUN_RANGE:
        raise UserError(f"{count} episodes are more than one run has seeds for ({RUN_RANGE})")
    return first_seed(purpose, run_seed) + np.arange(count, dtype=np.int64)
