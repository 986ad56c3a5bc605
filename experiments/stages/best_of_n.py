"""The better of several chunks, by what would come of each: a policy that looks before it acts, without training.

Dimension letters: B observations, n candidates, H steps of a chunk, A action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from envs.contract import Start
from envs.rollout import Actor, RolloutPool
from envs.types import Observation
from experiments.choices.judges import Judge


@dataclass(frozen=True)
class Proposed:
    """An `Actor` that does what has been decided: chunks [B, H, A]."""

    chunks: np.ndarray

    def act(self, observation: Observation, seeds: np.ndarray) -> np.ndarray:
        """See `Actor`."""
        return self.chunks


class BestOfN:
    """An `Actor`: of n chunks that a policy draws, the one whose imagined ending the judge likes best.

    The first candidate is the policy's own draw, so that n = 1 is the policy. It is also what is done where the judge has
    no verdict on any.
    """

    def __init__(
        self, actor: Actor, count: int, imagination: Callable[[int], RolloutPool], judge: Judge
    ) -> None:
        """See the class.

        Args:
            count: n.
            imagination: gives that many worlds, whose episodes are one chunk long and begin from any picture.
        """
        self._actor, self._count, self._imagination, self._judge = actor, count, imagination, judge

    def act(self, observation: Observation, seeds: np.ndarray) -> np.ndarray:
        """See `Actor`."""
        rows = np.repeat(np.arange(len(observation)), self._count)
        seen = observation[rows]
        chunks = self._actor.act(seen, candidate_seeds(seeds, self._count))
        starts = [
            Start(
                int(seeds[row]),
                seen.instruction[number],
                {camera: pictures[number] for camera, pictures in seen.images.items()},
                seen.proprio[number],
            )
            for number, row in enumerate(rows)
        ]
        pool = self._imagination(len(rows))
        rollouts = pool.rollout(Proposed(chunks), starts, record=True, film=self._judge.film)
        rewards = self._judge.rewards(rollouts).reshape(-1, self._count)
        best = np.where(np.isnan(rewards), -np.inf, rewards).argmax(axis=1)
        return chunks.reshape(-1, self._count, *chunks.shape[1:])[np.arange(len(best)), best]


def candidate_seeds(seeds: np.ndarray, count: int) -> np.ndarray:
    """What each candidate is drawn with, int64 [B · n] below 2³¹: the first with the row's own."""
    drawn = [
        [int(seed), *(np.random.SeedSequence(int(seed)).generate_state(count - 1) >> 1).tolist()]
        for seed in seeds
    ]
    return np.array(drawn, np.int64).reshape(-1)
