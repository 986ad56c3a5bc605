"""Preference between chunks of like states, ranked by the critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envs.errors import UserError
from policy_extraction.dataset import Dataset
from policy_extraction.types import Batch


@dataclass(frozen=True)
class Preference:
    """Of two chunks from where the critic sees the task equally far, the one that gained more is cloned, and preferred:

        ℓ = −log π(a⁺ | o⁺) + w log(1 + exp(−s (log π(a⁺ | o⁺) − log π(a⁻ | o⁻))))

    Pairs are neighbours in a batch ordered by value. After DPO (Rafailov et al. 2023, arXiv 2305.18290) and its form without
    a reference policy, contrastive preference learning (Hejna et al. 2023, arXiv 2310.13639). Deviates: single chunks of two
    episodes instead of segments that people compared; the critic's gains rank them; what is preferred is cloned as well.
    Where two gained the same, or a value is unknown (NaN), both are cloned; so is the last of an odd batch.
    """

    weight: float = 0.5  # w
    scale: float = 1.0  # s, of a difference of log-probabilities

    def __post_init__(self) -> None:
        if self.weight < 0 or self.scale <= 0:
            raise UserError("method.weight must not be negative, method.scale above 0")

    def select(self, dataset: Dataset) -> Dataset:
        return dataset

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        value, advantage = batch["value"], batch["advantage"]
        order = xp.argsort(xp.where(xp.isnan(value), 2.0, value))
        pairs = len(order) // 2
        one, other = order[0 : 2 * pairs : 2], order[1 : 2 * pairs : 2]
        gained = advantage[one] - advantage[other]
        first = xp.where(gained > 0, 1.0, 0.0)
        better = first * log_prob[one] + (1 - first) * log_prob[other]
        worse = first * log_prob[other] + (1 - first) * log_prob[one]
        apart = self.scale * (better - worse)
        preferred = xp.log1p(xp.exp(-xp.abs(apart))) + xp.clip(-apart, 0.0, None)
        told = ~xp.isnan(gained) & (gained != 0) & ~xp.isnan(value[one] + value[other])
        both = -(better + worse) / 2
        of_pair = xp.where(told, -better + self.weight * preferred, both)
        by_value = xp.concatenate(
            [xp.stack([of_pair, of_pair], 1).reshape(-1), -log_prob[order[2 * pairs :]]]
        )
        return by_value[xp.argsort(order)]
