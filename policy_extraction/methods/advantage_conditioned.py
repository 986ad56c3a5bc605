"""Advantage conditioning: the prompt says how good the action is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.text import word_ids
from policy_extraction.dataset import Dataset
from policy_extraction.methods.weighting import top_share
from policy_extraction.types import Batch

POSITIVE = " Advantage: positive"
NEGATIVE = " Advantage: negative"


@dataclass(frozen=True)
class AdvantageConditioned:
    """RECAP: clone everything, under a prompt that tells the best actions from the rest; act under the
    best's.

    The top 30 % of the data set's advantages get the suffix "Advantage: positive", the rest "Advantage:
    negative"; a share of the samples gets none, for classifier-free guidance when acting: v + g (v₊ − v),
    1 for none. π*0.6, arXiv 2511.14759. Deviates: who goes without a suffix is drawn once a data set, not
    once a batch. Samples whose advantage is unknown (NaN) are left out of the ranking, and kept without a suffix.
    """

    positive: float = 0.3
    drop: float = 0.1
    guidance: float = 1.0
    seed: int = 0  # of a run: the run's own

    def __post_init__(self) -> None:
        if not (0 < self.positive < 1 and 0 <= self.drop < 1):
            raise UserError("method.positive and method.drop are shares, between 0 and 1")
        if self.guidance != 1 and self.drop == 0:
            raise UserError("method.guidance needs prompts without a suffix: set method.drop above 0")

    def select(self, dataset: Dataset) -> Dataset:
        good = top_share(dataset.advantage, self.positive, self.seed)
        dropped = np.random.default_rng((self.seed, 1)).random(len(dataset)) < self.drop
        bare = dropped | np.isnan(dataset.advantage)
        suffix = np.where(bare, "", np.where(good, POSITIVE, NEGATIVE))
        for text in np.unique(dataset.instruction):
            if (word_ids(text + POSITIVE) == word_ids(text + NEGATIVE)).all():
                raise UserError(
                    f"the instruction {str(text)!r} is too long for a suffix to be read; shorten it"
                )
        return replace(dataset, instruction=np.char.add(dataset.instruction, suffix))

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        return -log_prob

    def act_instruction(self, instruction: str) -> str:
        return instruction + POSITIVE
