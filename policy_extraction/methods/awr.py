"""Advantage-weighted regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from policy_extraction.dataset import Dataset
from policy_extraction.methods.weighting import neutral, weighted_loss
from policy_extraction.types import Batch


@dataclass(frozen=True)
class AWR:
    """Advantage-weighted regression: w = min(exp(τA), cap), batch mean 1; ℓ = −w log π(a | o).

    Peng et al. 2019, arXiv 1910.00177, with the cap and the batch mean of World Value Models,
    arXiv 2606.24742. A sample whose advantage is unknown (NaN) weighs as much as the others on average: 1.
    """

    temperature: float = 10.0  # τ; published: 10 for H = 10, 2 for H = 50
    max_weight: float = 2.0

    def select(self, dataset: Dataset) -> Dataset:
        return dataset

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        weight = xp.clip(xp.exp(self.temperature * batch["advantage"]), None, self.max_weight)
        return weighted_loss(xp, neutral(xp, weight), -log_prob)
