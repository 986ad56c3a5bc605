"""Critic-regularised regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envs.errors import UserError
from policy_extraction.dataset import Dataset
from policy_extraction.methods.weighting import neutral
from policy_extraction.types import Batch

RULES = ("exp", "binary")


@dataclass(frozen=True)
class CRR:
    """Critic-regularised regression: ℓ = −w log π(a | o), w = min(exp(A / β), cap) or, by the rule "binary", 1[A > 0].

    Wang et al. 2020, arXiv 2006.15134. Unlike `awr` and `filtered_bc` the weights are not divided by their mean: where most
    chunks are bad, less is learned. Deviates: A is of a frozen critic of progress, so that β is .1 (published 1, of a
    Q-function's returns). A sample whose advantage is unknown (NaN) weighs as much as the others of its batch on average.
    """

    rule: str = "exp"
    beta: float = 0.1  # β; published 1
    max_weight: float = 20.0  # published 20

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UserError(f"method.rule is {self.rule!r}; use 'exp' or 'binary'")
        if self.beta <= 0 or self.max_weight <= 0:
            raise UserError("method.beta and method.max_weight must be above 0")

    def select(self, dataset: Dataset) -> Dataset:
        return dataset

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        advantage = batch["advantage"]
        if self.rule == "binary":
            weight = xp.where(xp.isnan(advantage), advantage, xp.where(advantage > 0, 1.0, 0.0))
        else:
            weight = xp.clip(xp.exp(advantage / self.beta), None, self.max_weight)
        return -neutral(xp, weight) * log_prob
