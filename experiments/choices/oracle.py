"""True progress, from the simulator's state: how far are undisturbed experts in the most similar states?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from envs.errors import UserError
from envs.types import Episode

HAND, OBJECT, TARGET, GRIPPER = slice(0, 3), slice(0, 3), slice(3, 6), 7
GRIPPER_SCALE = 0.02  # a whole opening of the hand counts as much as 2 cm
NEIGHBOURS = 16


def features(episode: Episode) -> np.ndarray:
    """What similarity is judged by, in metres: float32 [T, 8].

    Hand to object (3), up to where the robot's base stands; object to target (3); height of the object
    above where it began (1); opening of the hand (1).

    Raises:
        UserError: the episode was recorded without the simulator's state.
    """
    if episode.environment_state.shape[-1] < 6:
        raise UserError(
            "critic=oracle needs the simulator's state, which this data set lacks; use critic=wvm"
        )
    thing, target = episode.environment_state[:, OBJECT], episode.environment_state[:, TARGET]
    height = thing[:, 2:] - thing[:1, 2:]
    opening = GRIPPER_SCALE * episode.proprio[:, GRIPPER : GRIPPER + 1]
    return np.concatenate([episode.proprio[:, HAND] - thing, target - thing, height, opening], axis=1)


@dataclass(frozen=True)
class Oracle:
    """Progress of the nearest states of reference episodes: a kernel-weighted mean over `NEIGHBOURS` of them.

    tree: the references' features; progress: float32 [R], t / (T − 1) of every reference state.
    """

    tree: KDTree
    progress: np.ndarray

    @classmethod
    def fit(cls, references: Iterable[Episode]) -> Oracle:
        """From undisturbed expert episodes of the same task and robot (clean, noisy or slow)."""
        known = [(features(episode), np.linspace(0, 1, len(episode))) for episode in references]
        states, progress = zip(*known, strict=True)
        return cls(KDTree(np.concatenate(states)), np.concatenate(progress))

    def values(self, episode: Episode) -> np.ndarray:
        """Float32 [T] in [0, 1]; 1 where the task is solved."""
        distance, index = self.tree.query(features(episode), k=min(NEIGHBOURS, len(self.progress)))
        distance, index = distance.reshape(len(episode), -1), index.reshape(len(episode), -1)
        width = np.maximum(distance.mean(axis=1, keepdims=True), 1e-6)
        weight = np.exp(-0.5 * (distance / width) ** 2)
        value = (weight * self.progress[index]).sum(axis=1) / weight.sum(axis=1)
        return np.where(episode.rewards > 0, 1.0, value).astype(np.float32)
