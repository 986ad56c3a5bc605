"""What recorded rewards say of how an episode ended."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def tell_only_success(rewards: Iterable[np.ndarray]) -> bool:
    """Whether the rewards [T] of a data set's episodes say no more than solved or not: 0, and one positive number.

    Rewards that were not recorded (NaN) do not count.
    """
    levels = np.unique(np.concatenate([np.zeros(1, np.float32), *(np.unique(part) for part in rewards)]))
    levels = levels[~np.isnan(levels)]
    return bool(len(levels) <= 2 and levels[0] == 0)


def paid_outcome(rewards: np.ndarray) -> bool | None:
    """How an episode ended whose data set pays solved tasks and nothing else, from its rewards [T].

    Paid at its last frame, it solved the task; never paid, it did not; paid on the way alone, or not recorded, it is
    unknown (None).
    """
    if rewards[-1] > 0:
        return True
    return None if np.isnan(rewards).any() or (rewards > 0).any() else False


def outcome_rewards(length: int, success: bool | None) -> np.ndarray:
    """The rewards float32 [T] of an episode of which nothing but its outcome may be known: NaN where it is unknown."""
    if success is None:
        return np.full(length, np.nan, np.float32)
    return np.float32(success) * (np.arange(length) == length - 1)
