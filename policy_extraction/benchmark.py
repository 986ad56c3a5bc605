"""What a method costs: the time of an update beside that of plain behaviour cloning."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from policy_extraction.batch import make_batch
from policy_extraction.check import example_observation, example_samples
from policy_extraction.methods import METHODS
from policy_extraction.methods.bc import BC
from policy_extraction.types import Method, Policy, foresight_of, online_rollouts
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

    Every round times BC and each method one right after the other, on the same batches (those of rollouts for online
    methods); the overhead is the median over rounds of their ratio, less 1. BC's own is what the measurement takes for
    a difference where there is none.

    Args:
        updates: timed for each method.
        progress: called after every round with the number of updates of each method in it.
    """
    policy = vla_policy(new_vla(config, seed=0))
    offline, online = (_example_batches(policy, batch_size, of) for of in (False, True))
    every: dict[str, Method] = {name: method() for name, method in METHODS.items()}
    methods = {name: method for name, method in every.items() if foresight_of(method) is None}
    batches = {name: online if online_rollouts(method) else offline for name, method in methods.items()}
    for name, method in methods.items():
        for one in (BC(), method):
            policy.update(batches[name], one)  # compiles
    ratios: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(max(updates // UPDATES, 1)):
        for name, method in methods.items():
            pair = [method, BC()] if number % 2 else [BC(), method]
            first, second = (_seconds(policy, batches[name], one) for one in pair)
            ratios[name].append(first / second if number % 2 else second / first)
        if progress is not None:
            progress(UPDATES)
    return {name: {"overhead": float(np.median(values)) - 1} for name, values in ratios.items()}


def _seconds(policy: Policy, batches: dict[str, Any], method: Method) -> float:
    start = time.perf_counter()
    policy.update(batches, method)
    return time.perf_counter() - start


def _example_batches(policy: Policy, batch: int, online: bool) -> dict[str, Any]:
    """Random batches [UPDATES, B]."""
    inputs = policy.preprocess(example_observation(policy.spec, batch))
    samples = example_samples(policy.spec, UPDATES * batch, online)
    rows = np.arange(UPDATES * batch).reshape(UPDATES, batch)
    return make_batch(samples, {name: np.stack([array] * UPDATES) for name, array in inputs.items()}, rows)
