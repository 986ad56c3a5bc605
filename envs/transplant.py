"""Recorded actions done again, each episode's in the scene of another.

What a policy does tells where it saw things. A world model that has only seen such actions takes them for evidence, and a
policy that acts in it finds things wherever it goes (delusion; Ortega et al., arXiv 2110.10819). What comes of actions that
belong elsewhere is told by the scene alone.

Dimension letters: B rows, L steps of an episode, K steps of a chunk that are executed, A action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.errors import UserError
from envs.rollout import draw_seed
from envs.types import Observation


@dataclass(frozen=True)
class Transplanted:
    """An `Actor` that does not look.

    chunks: {what `RolloutPool` draws with at a decision of an episode: float32 [K, A]}.
    """

    chunks: dict[int, np.ndarray]
    nothing: np.ndarray  # what rows without an episode do, [K, A]

    def act(self, observation: Observation, seeds: np.ndarray) -> np.ndarray:
        """See `Actor`."""
        return np.stack([self.chunks.get(seed, self.nothing) for seed in seeds.tolist()])


def transplanted(
    actions: Sequence[np.ndarray], starts: Sequence[int], act_seed: int, execute: int, steps: int
) -> Transplanted:
    """Who does `actions[i]` [L, A] in the episode of seed `starts[i]`, of at most `steps` control steps; after its end the
    hand rests, the last number of the action, the gripper's, as it was.

    Args:
        starts: without repeats; act_seed: of the call of `RolloutPool.rollout`; execute: K.

    Raises:
        UserError: there are fewer recorded episodes than starts.
    """
    if len(actions) < len(starts):
        raise UserError(
            f"{len(starts)} episodes are to do what was done in others, and only {len(actions)} were recorded; lower "
            "data.episodes"
        )
    chunks: dict[int, np.ndarray] = {}
    decisions = -(-steps // execute)
    for seed, done in zip(starts, actions, strict=False):
        rest = np.append(np.zeros(done.shape[1] - 1), done[-1, -1])
        whole = np.concatenate([done, np.tile(rest, (max(0, decisions * execute - len(done)), 1))])
        for decision in range(decisions):
            part = whole[decision * execute : (decision + 1) * execute]
            chunks[draw_seed(act_seed, seed, 0, decision)] = part.astype(np.float32)
    return Transplanted(chunks, np.zeros((execute, actions[0].shape[1]), np.float32))
