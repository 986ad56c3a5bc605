"""Which part of a manipulation a moment belongs to, told from the simulator's state."""

from __future__ import annotations

from typing import Literal

import numpy as np

from envs.robosuite.env import RobosuiteEnv
from envs.types import Episode

Phase = Literal["approach", "grasp", "lift", "place"]
PHASES: tuple[Phase, ...] = ("approach", "grasp", "lift", "place")
NEAR = 0.075  # metres: a hand that could close on the object's origin, an object that could be released
MOVED = 0.01  # metres from where the object had come to rest
SETTLED = 6  # frames after which objects, which are dropped at a reset, lie still


def phases(episode: Episode, base: np.ndarray) -> np.ndarray:
    """The number in `PHASES` of every frame: int64 [T].

    approach: the hand is not `NEAR` the object, 3: before it, or after it was dropped or let go; grasp: it is near, and the
    object where it was; lift: it has moved, with the hand; place: the same, horizontally near the target. Where the target
    is above the object from the beginning, as in lift, nothing is placed.

    Args:
        base: where the robot stands [3], metres: proprioception is seen from there.
    """
    state = episode.environment_state
    rest = min(SETTLED, len(state) - 1)
    thing, target = state[:, :3], state[:, 3:6]
    near = np.linalg.norm(episode.proprio[:, :3] + base - thing, axis=1) < NEAR
    moved = (np.linalg.norm(thing - thing[rest], axis=1) > MOVED) & (np.arange(len(state)) > rest)
    way = np.linalg.norm((target - thing)[:, :2], axis=1)
    placing = (way < NEAR) & bool(way[rest] > MOVED)
    return np.where(near, 1 + moved + (moved & placing), 0)


def phases_of(env: RobosuiteEnv, seed: int) -> tuple[Phase, ...]:
    """Those of the task that a seed draws: all, but where lifting is all there is nothing to place."""
    state = env.reset(seed=seed)[0]["environment_state"]
    way = np.linalg.norm(state[3:5] - state[:2])
    return PHASES if way > MOVED else PHASES[:-1]
