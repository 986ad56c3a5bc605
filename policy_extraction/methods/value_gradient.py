"""The gradient of a frozen critic's value through a world model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from envs.errors import UserError
from policy_extraction.dataset import Dataset
from policy_extraction.types import Batch, Foresight


@dataclass(frozen=True)
class ValueGradient:
    """The policy follows what a frozen critic says of where it would be after a few decisions:

        ℓ = −(V(s_end) − V(s_0)) − β log π(a_base | o_0),   s_end = the world model's, under actions drawn from π

    V and the world model are differentiable in the actions, the draws in the policy's weights. a_base is a chunk of the
    policy before training at the same start: the second term is β KL(π_base ‖ π) up to a constant (for a policy
    without a likelihood, β times its training loss on its own first behaviour), and keeps the policy where model and
    critic have been.

    Value gradients through learned dynamics: Heess et al. 2015, arXiv 1510.09142 (SVG); Hafner et al. 2020, arXiv
    1912.01603 (Dreamer). Deviates: model and critic stay frozen, the value is a gain over 1 to a few decisions from
    recorded states without discount or bootstrap, and the anchor is to the base policy instead of an entropy.
    """

    anchor: float = 0.1  # β
    foresight: Foresight = field(default_factory=Foresight)

    def __post_init__(self) -> None:
        if self.anchor < 0:
            raise UserError(f"method.anchor is {self.anchor}; it must not be negative")

    def select(self, dataset: Dataset) -> Dataset:
        return dataset

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        return -batch["gain"] - self.anchor * log_prob
