"""Reward-aligned behaviour cloning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from policy_extraction.dataset import Dataset
from policy_extraction.methods.weighting import EPSILON, weighted_loss
from policy_extraction.types import Batch


@dataclass(frozen=True)
class RABC:
    """Reward-aligned behaviour cloning: L = Σ w ℓ / (Σ w + 1e-6), ℓ = −log π(a | o), with

        w = 1 if A > κ;  clip((A − (μ − 2σ)) / (4σ + ε), 0, 1) if 0 ≤ A ≤ κ;  0 if A < 0;  1 if A is
        unknown (NaN)

    where μ = max(mean A, 0) and σ = std A over the data set's known ones. SARM, arXiv 2509.25358, equations 8–9, as in
    LeRobot.
    """

    threshold: float = 0.01  # κ

    def select(self, dataset: Dataset) -> Dataset:
        advantage = dataset.advantage
        mean = max(float(np.nanmean(advantage)), 0.0)
        std = float(np.nanstd(advantage))
        soft = np.clip((advantage - (mean - 2 * std)) / (4 * std + EPSILON), 0, 1)
        weight = np.where(advantage > self.threshold, 1.0, np.where(advantage >= 0, soft, 0.0))
        return replace(dataset, weight=np.where(np.isnan(advantage), 1.0, weight).astype(np.float32))

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        return weighted_loss(xp, batch["weight"], -log_prob)
