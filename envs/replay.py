"""Recorded actions executed again: what they lead to elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.contract import ChunkEnvs


def replay(envs: ChunkEnvs, seeds: Sequence[int], actions: Sequence[np.ndarray]) -> list[bool | None]:
    """Whether each episode is solved by the time its actions are over; None where the environment does not say.

    Args:
        seeds: of the episodes' first states.
        actions: of each episode, float32 [L, A]; where L is no multiple of the environment's chunk, the last action is
            repeated until it is.
    """
    found: list[bool | None] = []
    for first in range(0, len(seeds), envs.num_envs):
        found += _block(
            envs, list(seeds[first : first + envs.num_envs]), actions[first : first + envs.num_envs]
        )
    return found


def _block(envs: ChunkEnvs, seeds: list[int], actions: Sequence[np.ndarray]) -> list[bool | None]:
    rows, steps = len(seeds), envs.execute
    mask = np.arange(envs.num_envs) < rows
    envs.reset(seed=seeds + [seeds[-1]] * (envs.num_envs - rows), options={"reset_mask": mask})
    found: list[bool | None] = [None] * rows
    chunks = [-(-len(one) // steps) for one in actions]
    for number in range(max(chunks)):
        chunk = np.zeros((envs.num_envs, steps, envs.env_spec.action_dim), np.float32)
        for row, one in enumerate(actions):
            index = np.minimum(np.arange(number * steps, (number + 1) * steps), len(one) - 1)
            chunk[row] = one[index]
        info = envs.step(chunk)[4]
        for row in range(rows):
            if number < chunks[row] and "success" in info and info["_success"][row]:
                found[row] = bool(info["success"][row])
    return found
