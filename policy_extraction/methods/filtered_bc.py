"""Behaviour cloning of the better part of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.errors import UserError
from policy_extraction.dataset import Dataset
from policy_extraction.methods.weighting import top_share, weighted_loss
from policy_extraction.types import Batch


@dataclass(frozen=True)
class FilteredBC:
    """Filtered behaviour cloning: w = 1[kept], L = Σ w ℓ / (Σ w + 1e-6), ℓ = −log π(a | o).

    World Value Models, arXiv 2606.24742, section 5.2: "percentile" keeps the top 70 % of the training set's
    advantages, "binary" keeps A ≥ κ with κ = 0. Deviates: percentiles are cut by rank, ties broken by the
    seed. Samples whose advantage is unknown (NaN) are left out of the ranking, and kept.
    """

    rule: str = "percentile"  # or "binary"
    keep: float = 0.7  # share kept by "percentile"
    threshold: float = 0.0  # κ of "binary"
    seed: int = 0  # of a run: the run's own

    def __post_init__(self) -> None:
        if self.rule not in ("percentile", "binary"):
            raise UserError(f"method.rule is {self.rule!r}; use 'percentile' or 'binary'")
        if not 0 < self.keep <= 1:
            raise UserError(f"method.keep is {self.keep}; it is a share, above 0 and up to 1")

    def select(self, dataset: Dataset) -> Dataset:
        if self.rule == "binary":
            kept = dataset.advantage >= self.threshold
        else:
            kept = top_share(dataset.advantage, self.keep, self.seed)
        kept |= np.isnan(dataset.advantage)
        return replace(dataset, weight=kept.astype(np.float32))

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        return weighted_loss(xp, batch["weight"], -log_prob)
