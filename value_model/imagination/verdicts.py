"""Whether rollouts look solved when they are imagined again, from their first picture under their own actions.

Dimension letters: N episodes, B at a time, T control steps, A action.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np

from envs.text import word_ids
from envs.types import Episode
from value_model.imagination.clips import check_episode
from value_model.imagination.world_model import WorldModel
from value_model.imagination.worlds import Worlds
from value_model.video.frames import episode_frames

BLOCK = 64  # episodes that are imagined together


def look_solved(world: WorldModel, episodes: Iterable[Episode], minimum: int = 8) -> np.ndarray:
    """Whether each looks solved at any moment, bool [N].

    Args:
        minimum: control steps before which nothing counts, as in `env=imagination`.

    Raises:
        UserError: an episode does not fit the world model; an imagined world is no longer finite.
    """
    worlds, rest, said = Worlds(world, BLOCK), iter(episodes), []
    while block := list(islice(rest, BLOCK)):
        said.append(_said(world, worlds, block, minimum, len(said) * BLOCK))
    return np.concatenate(said) if said else np.zeros(0, bool)


def _said(world: WorldModel, worlds: Worlds, episodes: list[Episode], minimum: int, first: int) -> np.ndarray:
    """Of at most B episodes, the first of which has this number; rows beyond them repeat the last."""
    rows = [*episodes, *[episodes[-1]] * (BLOCK - len(episodes))]
    for episode in episodes:
        check_episode(episode, world.config)
    size, cameras = world.config.tokenizer.image_size, world.config.cameras
    frames = np.concatenate([_first(episode, cameras, size) for episode in episodes])
    latents = world.encoder.encode(frames)[np.minimum(np.arange(BLOCK), len(episodes) - 1)]
    proprio = np.stack([episode.proprio[0] for episode in rows]).astype(np.float32)
    words = np.stack([word_ids(episode.instruction) for episode in rows])
    everyone, stride = np.ones(BLOCK, bool), world.config.stride
    worlds.begin(latents, proprio, words, everyone)
    length = np.array([len(episode) for episode in rows])
    chunk = _together([episode.actions for episode in rows], stride)
    seeds = first + np.arange(BLOCK)
    solved = np.asarray(worlds.advance(chunk, seeds, np.zeros(BLOCK, np.int64), everyone).solved)
    passed = stride * np.arange(1, len(solved) + 1)[:, None]
    return np.any(solved & (passed <= length) & (passed >= minimum), axis=0)[: len(episodes)]


def _first(episode: Episode, cameras: tuple[str, ...], size: int) -> np.ndarray:
    """Its first picture, uint8 [1, size, size · cameras, 3]."""
    return episode_frames(episode, cameras, size)[:1]


def _together(actions: list[np.ndarray], stride: int) -> np.ndarray:
    """Actions [T, A] of different lengths as float32 [B, T, A] in [-1, 1], whole steps of the world; ends are repeated."""
    steps = -(-max(map(len, actions)) // stride) * stride
    padded = [np.pad(one, ((0, steps - len(one)), (0, 0)), mode="edge") for one in actions]
    return np.clip(np.stack(padded), -1.0, 1.0).astype(np.float32)
