"""Whether rollouts look solved when they are imagined again, from their first picture under their own actions.

Dimension letters: N attempts, B at a time, T control steps, A action, P proprioception, H and W height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import numpy as np

from envs.text import word_ids
from envs.types import Episode
from value_model.imagination.clips import check_episode
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.world_model import WorldModel
from value_model.imagination.worlds import Worlds
from value_model.video.frames import episode_frames

BLOCK = 64  # attempts that are imagined together


class Attempt(NamedTuple):
    """picture: the first, all cameras side by side, uint8 [H, W · cameras, 3]; proprio: then [P]; actions: [T, A] in
    [-1, 1]; instruction.
    """

    picture: np.ndarray
    proprio: np.ndarray
    actions: np.ndarray
    instruction: str


def attempt(episode: Episode, config: ImaginationConfig) -> Attempt:
    """What was done in a recorded episode.

    Raises:
        UserError: it does not fit the world model's configuration.
    """
    check_episode(episode, config)
    frames = episode_frames(episode, config.cameras, config.tokenizer.image_size)
    return Attempt(frames[0], episode.proprio[0], config.scaled(episode.actions), episode.instruction)


def look_solved(world: WorldModel, attempts: Iterable[Attempt], minimum: int = 8) -> np.ndarray:
    """Whether each looks solved at any moment, bool [N].

    Args:
        minimum: control steps before which nothing counts, as in `env=imagination`.

    Raises:
        UserError: an imagined world is no longer finite.
    """
    worlds, rest, said = Worlds(world, BLOCK), iter(attempts), []
    while block := list(islice(rest, BLOCK)):
        said.append(_said(world, worlds, block, minimum, len(said) * BLOCK))
    return np.concatenate(said) if said else np.zeros(0, bool)


def _said(world: WorldModel, worlds: Worlds, attempts: list[Attempt], minimum: int, first: int) -> np.ndarray:
    """Of at most B attempts, the first of which has this number; rows beyond them repeat the last."""
    rows = [*attempts, *[attempts[-1]] * (BLOCK - len(attempts))]
    known = world.encoder.encode(np.stack([one.picture for one in attempts]))
    latents = known[np.minimum(np.arange(BLOCK), len(attempts) - 1)]
    proprio = np.stack([one.proprio for one in rows]).astype(np.float32)
    words = np.stack([word_ids(one.instruction) for one in rows])
    everyone, stride = np.ones(BLOCK, bool), world.config.stride
    worlds.begin(latents, proprio, words, everyone)
    length = np.array([len(one.actions) for one in rows])
    chunk = _together([one.actions for one in rows], stride)
    seeds = first + np.arange(BLOCK)
    solved = np.asarray(worlds.advance(chunk, seeds, np.zeros(BLOCK, np.int64), everyone).solved)
    passed = stride * np.arange(1, len(solved) + 1)[:, None]
    return np.any(solved & (passed <= length) & (passed >= minimum), axis=0)[: len(attempts)]


def _together(actions: list[np.ndarray], stride: int) -> np.ndarray:
    """Actions [T, A] of different lengths as float32 [B, T, A], whole steps of the world; ends are repeated."""
    steps = -(-max(map(len, actions)) // stride) * stride
    padded = [np.pad(one, ((0, steps - len(one)), (0, 0)), mode="edge") for one in actions]
    return np.stack(padded).astype(np.float32)
