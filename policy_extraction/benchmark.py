"""What a method costs: the time of an update beside that of plain behaviour cloning."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from policy_extraction.check import example_observation
from policy_extraction.methods import METHODS
from policy_extraction.methods.bc import BC
from policy_extraction.types import Method, Policy
from policy_extraction.vla.encoder import VLAConfig
from policy_extraction.vla.model import new_vla, vla_policy

UPDATES = 5  # timed together


def measure_methods(
    updates: int = 200,
    batch_size: int = 256,
    config: VLAConfig = VLAConfig(),  # noqa: B008
    progress: Callable[[int], object] | None = None,
) -> dict[str, dict[str, float]]:
    """{"<method>": {"overhead": fraction of plain BC's update time}}, with the small VLA's flow head.

    Every round times BC and each method one right after the other; the overhead is the median over rounds
    of their ratio, less 1. BC's own is what the measurement takes for a difference where there is none.

    Args:
        updates: timed for each method.
        progress: called after every round with the number of updates of each method in it.
    """
    policy = vla_policy(new_vla(config, seed=0))
    batches = _example_batches(policy, batch_size)
    methods: dict[str, Method] = {name: method() for name, method in METHODS.items()}
    for method in [BC(), *methods.values()]:
        policy.update(batches, method)  # compiles
    ratios: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(max(updates // UPDATES, 1)):
        for name, method in methods.items():
            pair = [method, BC()] if number % 2 else [BC(), method]
            first, second = (_seconds(policy, batches, one) for one in pair)
            ratios[name].append(first / second if number % 2 else second / first)
        if progress is not None:
            progress(UPDATES)
    return {name: {"overhead": float(np.median(values)) - 1} for name, values in ratios.items()}


def _seconds(policy: Policy, batches: dict[str, Any], method: Method) -> float:
    start = time.perf_counter()
    policy.update(batches, method)
    return time.perf_counter() - start


def _example_batches(policy: Policy, batch: int) -> dict[str, Any]:
    """Random batches [UPDATES, B] with all that any method reads."""
    rng = np.random.default_rng(0)
    spec = policy.spec
    inputs = policy.preprocess(example_observation(spec, batch))
    shape = (UPDATES, batch)
    return {
        "observation": {name: np.stack([array] * UPDATES) for name, array in inputs.items()},
        "action": rng.uniform(-1, 1, (*shape, spec.action_horizon, spec.action_dim)).astype(np.float32),
        "advantage": rng.normal(0, 0.1, shape).astype(np.float32),
        "weight": rng.uniform(0, 1, shape).astype(np.float32),
        "behavior_log_prob": np.full(shape, -1.0, np.float32),
        "seed": rng.integers(0, 2**32, shape, dtype=np.uint32),
    }
