"""Training clips of a world model: latents of every frame, from which sequences at the world's stride are drawn.

A clip may begin at any frame, so that all phases of the stride are learnt.

Dimension letters: N frames of all episodes, E episodes, B batch, S steps of a clip, K control steps of a step, A action,
P proprioception, h and w latent height and width, C channels, L words.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.errors import UserError
from envs.text import word_ids
from envs.types import Episode
from value_model.imagination.config import ImaginationConfig
from value_model.video.encoder import FrameEncoder
from value_model.video.frames import Episodes, episode_frames, watch


class Frames(NamedTuple):
    """All frames of all episodes, one after the other."""

    latents: jax.Array  # float16 [N, h, w, C]
    proprio: jax.Array  # [N, P]
    actions: jax.Array  # [N, A]
    solved: jax.Array  # of the state that is seen: 1, 0, or NaN where it is not known [N]
    first: jax.Array  # int32 [N]: of the frame's episode
    episode: jax.Array  # int32 [N]
    words: jax.Array  # int32 [E, L]
    begins: jax.Array  # int32: frames after which a clip of the longest length fits


class Clip(NamedTuple):
    """S steps of B clips; frame 0 is the last that is known."""

    anchor: jax.Array  # [B, h, w, C]
    previous: jax.Array  # [B, h, w, C]
    latents: jax.Array  # [B, S + 1, h, w, C]
    proprio: jax.Array  # [B, S + 1, P]
    moved: jax.Array  # how proprioception changed over the control step before [B, S + 1, P]
    actions: jax.Array  # [B, S, K, A]
    words: jax.Array  # [B, L]


def encode_frames(
    encoder: FrameEncoder, episodes: Episodes, config: ImaginationConfig
) -> tuple[Frames, list[str]]:
    """Every frame of every episode, encoded once, and each episode's instruction.

    Raises:
        UserError: an episode has other actions, proprioception or rate than the model; none is long enough.
    """
    parts: dict[str, list[np.ndarray]] = {}
    lengths, instructions = [0], []
    for episode in watch(episodes, config.cameras):
        check_episode(episode, config)
        frames = episode_frames(episode, config.cameras, config.tokenizer.image_size)
        row = {
            "latents": encoder.encode(frames).astype(np.float16),
            "proprio": episode.proprio.astype(np.float32),
            "actions": config.scaled(episode.actions),
            "solved": solved_frames(episode),
        }
        for name, array in row.items():
            parts.setdefault(name, []).append(array)
        lengths.append(len(episode))
        instructions.append(episode.instruction)
    needed = config.clip_steps * config.stride
    ends = np.cumsum(lengths)
    begins = [np.arange(a, b - needed) for a, b in pairwise(ends.tolist()) if b - a > needed]
    if not begins:
        longest = "flow.window" if config.dynamics == "flow" else "unroll.steps"
        raise UserError(f"no episode to train on is longer than {needed} frames; lower model.{longest}")
    index = np.repeat(np.arange(len(instructions)), lengths[1:])
    frames = Frames(
        **{name: jnp.asarray(np.concatenate(arrays)) for name, arrays in parts.items()},
        first=jnp.asarray(ends[:-1][index], jnp.int32),
        episode=jnp.asarray(index, jnp.int32),
        words=jnp.asarray(np.stack([word_ids(text) for text in instructions])),
        begins=jnp.asarray(np.concatenate(begins), jnp.int32),
    )
    return frames, instructions


def check_episode(episode: Episode, config: ImaginationConfig) -> None:
    """Refuse an episode that the model cannot learn from.

    Raises:
        UserError: its actions, proprioception or rate are other than the configuration's.
    """
    for name, have, want in (
        ("numbers an action", episode.actions.shape[1], config.action_dim),
        ("numbers of proprioception", episode.proprio.shape[1], config.proprio_dim),
        ("frames a second", episode.fps, config.control_rate),
    ):
        if have != want:
            raise UserError(
                f"an episode has {have:g} {name}, the world model {want:g}; set them (see config.py)"
            )


def solved_frames(episode: Episode) -> np.ndarray:
    """Whether each frame [T] shows a solved state: what the reward of the action before says; NaN where unknown."""
    before = np.concatenate([[0.0], episode.rewards[:-1]])
    return np.where(np.isnan(before), np.nan, before > 0).astype(np.float32)


def noisy(latents: jax.Array, largest: float, key: jax.Array) -> jax.Array:
    """Latents [B, h, w, C] with noise, each frame's of a standard deviation of its own, up to `largest`."""
    keys = jax.random.split(key)
    size = largest * jax.random.uniform(keys[0], (len(latents), 1, 1, 1))
    return latents + size * jax.random.normal(keys[1], latents.shape)


def sample_clips(data: Frames, key: jax.Array, batch: int, steps: int, config: ImaginationConfig) -> Clip:
    """B clips of S steps. A share of them begin as imagined worlds do, from one frame alone; the anchor of the others is
    their episode's first frame or, as often, any before.
    """
    keys = jax.random.split(key, 4)
    start = data.begins[jax.random.randint(keys[0], (batch,), 0, len(data.begins))]
    first = data.first[start]
    earlier = first + jnp.floor(jax.random.uniform(keys[1], (batch,)) * (start - first + 1)).astype(jnp.int32)
    draw = jax.random.uniform(keys[2], (batch,))
    half = config.unroll.begin + (1 - config.unroll.begin) / 2
    anchor = jnp.where(draw < config.unroll.begin, start, jnp.where(draw < half, first, earlier))
    frames = start[:, None] + config.stride * jnp.arange(steps + 1)
    acted = frames[:, :-1, None] + jnp.arange(config.stride)
    before = jnp.maximum(anchor, start - config.stride)
    moved = changes(data, frames)
    return Clip(
        anchor=data.latents[anchor].astype(jnp.float32),
        previous=data.latents[before].astype(jnp.float32),
        latents=data.latents[frames].astype(jnp.float32),
        proprio=data.proprio[frames],
        moved=moved.at[:, 0].set(jnp.where((anchor == start)[:, None], 0.0, moved[:, 0])),
        actions=data.actions[acted],
        words=data.words[data.episode[start]],
    )


def changes(data: Frames, rows: jax.Array) -> jax.Array:
    """How proprioception changed over the control step before frames [...]: [..., P], 0 at an episode's first."""
    return data.proprio[rows] - data.proprio[jnp.maximum(rows - 1, data.first[rows])]


def by_step(clip: Clip, keys: jax.Array) -> tuple[jax.Array, ...]:
    """What every step of a clip is given and comes to, [S, B, …] each: actions, latents, proprio, moved, and keys [B, S]."""
    steps = (clip.actions, clip.latents[:, 1:], clip.proprio[:, 1:], clip.moved[:, 1:], keys)
    return jax.tree.map(lambda part: jnp.moveaxis(part, 1, 0), steps)
