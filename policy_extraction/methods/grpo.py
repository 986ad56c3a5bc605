"""Group-relative policy optimisation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.fields import later
from policy_extraction.advantages import group_relative
from policy_extraction.batch import executed_mean
from policy_extraction.dataset import Dataset
from policy_extraction.types import Batch, Rollouts


@dataclass(frozen=True)
class GRPO:
    """GRPO on groups of rollouts from the same seed, with a clipped ratio ρ = π(a | o) / π_old(a | o) a
    token:

        ℓ = −mean_k min(ρ_k A, clip(ρ_k, 1 − low, 1 + high) A),   A = (r − mean r) / (std r + 1e-6)

    over the tokens k of the actions that were executed: what a chunk proposed and nobody did earned nothing.
    With `kl` β > 0 the policy is held near the one before training, π_0, by Shao's (eq. 4) estimate of KL(π ‖ π_0) at
    each token:

        ℓ_k + β (exp q_k − q_k − 1),   q_k = log π_0(a_k | o) − log π(a_k | o)

    Groups whose success rate is outside [0.1, 0.9] are left out; where rewards are other than 0 and 1, those whose
    rewards do not differ. Clip-higher; no entropy term.
    Shao et al. 2024, arXiv 2402.03300, as set in World-Gymnast, arXiv 2602.02454, which has no KL. With a policy without
    tokens ρ is the whole chunk's; with flow matching, FPO's (arXiv 2507.21053).
    """

    clip_low: float = 0.2
    clip_high: float = 0.28
    min_reward: float = 0.1  # mean of a group, where rewards are 0 or 1
    max_reward: float = 0.9
    kl: float = later(0.0)  # β; what is learnt of a world model's mistakes leads away from π_0
    online: Rollouts = field(default_factory=Rollouts)

    def __post_init__(self) -> None:
        if self.kl < 0:
            raise UserError(f"method.kl is {self.kl}; it must not be negative")

    @property
    def with_base(self) -> bool:
        """See `BasedMethod`."""
        return self.kl > 0

    def select(self, dataset: Dataset) -> Dataset:
        """Keep the groups that tell good from bad, with every chunk's advantage that of its rollout."""
        kept = np.zeros(len(dataset), bool)
        advantage = np.zeros(len(dataset), np.float32)
        binary = bool(np.isin(dataset.outcome, (0, 1)).all())
        for group in np.unique(dataset.group):
            members, first, rollout = np.unique(
                dataset.episode[dataset.group == group], return_index=True, return_inverse=True
            )
            rewards = dataset.outcome[dataset.group == group][first]
            kept[dataset.group == group] = len(members) > 1 and self._tells(rewards, binary)
            advantage[dataset.group == group] = group_relative(rewards)[rollout]
        return replace(dataset, advantage=advantage).rows(kept)

    def _tells(self, rewards: np.ndarray, binary: bool) -> bool:
        """Whether a group of rollouts tells good from bad."""
        if binary:
            return bool(self.min_reward <= rewards.mean() <= self.max_reward)
        return bool(np.ptp(rewards) > 0)

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        ratio = xp.exp(log_prob - batch["behavior_log_prob"])
        tokens = log_prob.ndim == 2
        advantage = batch["advantage"][:, None] if tokens else batch["advantage"]
        clipped = xp.clip(ratio, 1 - self.clip_low, 1 + self.clip_high)
        gain = xp.minimum(ratio * advantage, clipped * advantage)
        if self.kl:
            apart = batch["base_log_prob"] - log_prob
            gain = gain - self.kl * (xp.exp(apart) - apart - 1)
        return -executed_mean(xp, gain, batch) if tokens else -gain
