"""The one place where samples become what a policy is updated on and a method's loss sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.errors import UserError
from policy_extraction.dataset import Dataset, batch_rows
from policy_extraction.types import Batch

NOTHING_LEFT = "no sample is left to learn from; loosen the method's selection"


def make_batch(
    dataset: Dataset, observation: Mapping[str, np.ndarray], rows: np.ndarray | None = None
) -> dict[str, Any]:
    """The `policy_extraction.types.Batch` of the samples `rows`, an integer array of any shape; of all for None.

    Args:
        observation: of these samples, {name: [*rows.shape, ...]}.
    """
    rows = np.arange(len(dataset)) if rows is None else rows
    batch: dict[str, Any] = {
        "observation": dict(observation),
        "action": dataset.action[rows],
        "value": dataset.value[rows],
        "advantage": dataset.advantage[rows],
        "weight": dataset.weight[rows],
    }
    for name in ("behavior_log_prob", "base_log_prob"):
        if (known := getattr(dataset, name)) is not None:
            batch[name] = known[rows]
    if dataset.executed is not None:
        action = np.arange(dataset.action.shape[1])
        batch["executed"] = (action < dataset.executed[rows][..., None]).astype(np.float32)
    if dataset.seed is not None:
        batch["seed"] = dataset.seed[rows]
    return batch


def sample_batches(
    dataset: Dataset, inputs: Mapping[str, np.ndarray], *, first: int, updates: int, batch: int, seed: int
) -> dict[str, Any]:
    """Batches number first … first+U−1 for `Policy.update`, leading axes [U, B].

    A function of its arguments alone: training that stops after any update goes on with the very same
    batches.

    Args:
        inputs: {name: [V, N, ...]}, what `Policy.preprocess` made of V differently shifted copies of the
        pictures.
    """
    if not len(dataset):
        raise UserError(NOTHING_LEFT)
    rows = np.stack(
        [batch_rows(len(dataset), batch, update, seed) for update in range(first, first + updates)]
    )
    variants = len(next(iter(inputs.values())))
    variant = np.stack(
        [
            np.random.default_rng((seed, update, 1)).integers(variants, size=batch)
            for update in range(first, first + updates)
        ]
    )
    observation = {name: array[variant, rows] for name, array in inputs.items()}
    return make_batch(dataset, observation, rows)


def executed_mean(xp: Any, tokens: Any, batch: Batch) -> Any:
    """Mean over the tokens [B, K] of the executed actions of each chunk: [B]; over all if the batch does not say.

    K is a multiple of the horizon H: the tokens of an action lie side by side, in the order of the actions.
    """
    executed = batch.get("executed")
    if executed is None:
        return xp.mean(tokens, axis=1)
    actions = xp.mean(tokens.reshape(*executed.shape, -1), axis=2)
    return xp.sum(actions * executed, axis=1) / xp.sum(executed, axis=1)
