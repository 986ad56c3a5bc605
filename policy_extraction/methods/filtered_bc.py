"""Behaviour cloning of the better part of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.fields import later
from policy_extraction.dataset import Dataset
from policy_extraction.methods.weighting import top_share, weighted_loss
from policy_extraction.types import Batch

RULES = ("percentile", "binary", "usual")


@dataclass(frozen=True)
class FilteredBC:
    """Filtered behaviour cloning: w = 1[kept], L = Σ w ℓ / (Σ w + 1e-6), ℓ = −log π(a | o).

    World Value Models, arXiv 2606.24742, section 5.2: "percentile" keeps the top 70 % of the training set's
    advantages, "binary" keeps A ≥ κ with κ = 0. Deviates: percentiles are cut by rank, ties broken by the
    seed. Samples whose advantage is unknown (NaN) are left out of the ranking, and kept.

    Ours: "usual" keeps what gains at least half of what the median chunk does, so that the data decide how many that
    are; with `prefix` a chunk counts only up to where the next one begins that is not kept.
    """

    rule: str = "percentile"  # or "binary", or "usual"
    keep: float = 0.7  # share kept by "percentile"
    threshold: float = 0.0  # κ of "binary"
    seed: int = 0  # of a run: the run's own
    usual: float = later(0.5)  # of the median advantage, which "usual" asks of a chunk
    prefix: bool = later(False)  # only the actions before the next chunk that is not kept

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UserError(f"method.rule is {self.rule!r}; use 'percentile', 'binary' or 'usual'")
        if not 0 < self.keep <= 1:
            raise UserError(f"method.keep is {self.keep}; it is a share, above 0 and up to 1")

    def select(self, dataset: Dataset) -> Dataset:
        if self.rule == "binary":
            kept = dataset.advantage >= self.threshold
        elif self.rule == "usual":
            kept = dataset.advantage >= self.usual * np.nanmedian(dataset.advantage)
        else:
            kept = top_share(dataset.advantage, self.keep, self.seed)
        kept |= np.isnan(dataset.advantage)
        executed = leading(dataset, kept) if self.prefix else dataset.executed
        return replace(dataset, weight=kept.astype(np.float32), executed=executed)

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        return weighted_loss(xp, batch["weight"], -log_prob)


def leading(dataset: Dataset, kept: np.ndarray) -> np.ndarray:
    """How many actions of each chunk, from its first, come before the next chunk of its episode that is not kept: int64 [N].

    All of them where every later one is kept; at least 1. A chunk that leads into a lapse still teaches what came before it.
    """
    horizon = dataset.action.shape[1]
    count = np.full(len(dataset), horizon, np.int64)
    order = np.lexsort((dataset.frame, dataset.episode))
    for here, after in zip(order[-2::-1], order[:0:-1], strict=True):
        if dataset.episode[here] == dataset.episode[after]:
            apart = dataset.frame[after] - dataset.frame[here]
            count[here] = min(apart + (count[after] if kept[after] else 0), horizon)
    return np.maximum(count, 1)
