"""Behaviour cloning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from policy_extraction.dataset import Dataset
from policy_extraction.types import Batch


@dataclass(frozen=True)
class BC:
    """Behaviour cloning, the baseline: ℓ = −log π(a | o), every sample alike."""

    def select(self, dataset: Dataset) -> Dataset:
        return dataset

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        return -log_prob
