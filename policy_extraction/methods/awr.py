"""Advantage-weighted regression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.fields import later
from policy_extraction.dataset import Dataset
from policy_extraction.methods.weighting import neutral, weighted_loss
from policy_extraction.types import Batch


@dataclass(frozen=True)
class AWR:
    """Advantage-weighted regression: w = min(exp(τA), cap), batch mean 1; ℓ = −w log π(a | o).

    Peng et al. 2019, arXiv 1910.00177, with the cap and the batch mean of World Value Models,
    arXiv 2606.24742. A sample whose advantage is unknown (NaN) weighs as much as the others on average: 1.

    With `effective` τ is chosen instead, once for the data set and without a cap: that at which the weights are worth this
    share of the samples, (Σw)² / Σw² of N, whatever the advantage's scale.
    """

    temperature: float = 10.0  # τ; published: 10 for H = 10, 2 for H = 50
    max_weight: float = 2.0
    effective: float = later(0.0)  # share of the samples that the weights are worth; 0: τ as it is given

    def __post_init__(self) -> None:
        if not 0 <= self.effective < 1:
            raise UserError(f"method.effective is {self.effective}; it is a share, 0 or below 1")

    def select(self, dataset: Dataset) -> Dataset:
        if not self.effective:
            return dataset
        known = np.isfinite(dataset.advantage)
        weight = np.ones(len(dataset), np.float32)
        weight[known] = worth(dataset.advantage[known], self.effective)
        return replace(dataset, weight=weight)

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        if self.effective:
            return weighted_loss(xp, batch["weight"], -log_prob)
        weight = xp.clip(xp.exp(self.temperature * batch["advantage"]), None, self.max_weight)
        return weighted_loss(xp, neutral(xp, weight), -log_prob)


def worth(advantage: np.ndarray, share: float) -> np.ndarray:
    """exp(τA) [N], scaled to mean 1, with the τ at which (Σw)² / Σw² is that share of N; the more τ, the fewer count."""
    centred = advantage.astype(np.float64) - advantage.max()
    scale = max(float(centred.std()), 1e-12)
    low, high = 0.0, 1e3  # of τ in units of the spread
    for _ in range(60):
        middle = (low + high) / 2
        weight = np.exp(middle / scale * centred)
        effective = weight.sum() ** 2 / (weight**2).sum() / len(weight)
        low, high = (middle, high) if effective >= share else (low, middle)
    weight = np.exp(low / scale * centred)
    return (weight / weight.mean()).astype(np.float32)
