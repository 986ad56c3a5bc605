"""Training clips, drawn on the device from cached latents: forwards, standing still, or played backwards.

Rewinding (ReWiND, arXiv 2505.10911): a share of the clips is reversed or repeats one frame, with the values relabelled
to match, so that a model that only counts frames is punished.

Dimension letters: B batch, E episodes, N frames of all episodes, h horizon, L words.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from value_model.critic.config import ClipConfig, WVMConfig
from value_model.critic.network import Clip


class LatentData(NamedTuple):
    """Every training frame, encoded once, on the device."""

    latents: jax.Array  # [N, h, w, C], episodes one after the other
    values: jax.Array  # true values [N]
    start: jax.Array  # first frame [E] of each episode
    length: jax.Array  # frames [E]
    words: jax.Array  # ids [E, L]
    task: jax.Array  # number [E] of what is done in it, however it is said
    lapses: jax.Array  # frames [M] within marked hesitations and retries


def clip_frames(
    key: jax.Array, length: jax.Array, clip: ClipConfig, stride: int, around: jax.Array | None = None
) -> jax.Array:
    """Frame indices [B, 2 h + 1] within episodes of the given lengths [B]: prefix, current and future frames.

    The current frames lie inside the episode; the prefix may lie one stride before its start and the future beyond its
    end, where the first and last frame stand for them. Where `around` [B] is not negative, it is among the current
    frames of a clip that moves, if the episode is long enough.
    """
    keys = jax.random.split(key, 2)
    last = length - 1
    mode = jax.random.uniform(keys[0], length.shape)
    reverse, still = (
        mode < clip.rewind - clip.plateau,
        (mode >= clip.rewind - clip.plateau) & (mode < clip.rewind),
    )
    spread = jnp.maximum(last + 1 - (clip.horizon - 1) * stride, 1)
    first = jnp.floor(jax.random.uniform(keys[1], length.shape) * spread).astype(jnp.int32)
    if around is not None:
        place = jax.random.randint(jax.random.fold_in(keys[1], 1), length.shape, 0, clip.horizon) * stride
        wanted = jnp.where(reverse, last - around, around) - place
        first = jnp.where(around >= 0, jnp.clip(wanted, 0, spread - 1), first)
    first = first - stride
    offsets = jnp.arange(2 * clip.horizon + 1) * stride
    forward = first[:, None] + jnp.where(still[:, None], 0, offsets)
    return jnp.clip(jnp.where(reverse[:, None], last[:, None] - forward, forward), 0, last[:, None])


def sample_clips(data: LatentData, key: jax.Array, batch: int, config: WVMConfig, stride: int) -> Clip:
    """A batch of clips; every frame of the data is equally likely to be of the clip's episode.

    A share `focus` of them is drawn around frames of marked lapses instead, if there are any.
    """
    keys = jax.random.split(key, 2)
    frame = jax.random.randint(keys[0], (batch,), 0, data.latents.shape[0])
    lapse = None
    if config.clip.focus and data.lapses.shape[0]:
        more = jax.random.split(jax.random.fold_in(keys[0], 1))
        lapse = jax.random.uniform(more[0], (batch,)) < config.clip.focus
        chosen = data.lapses[jax.random.randint(more[1], (batch,), 0, data.lapses.shape[0])]
        frame = jnp.where(lapse, chosen, frame)
    episode = jnp.searchsorted(data.start, frame, side="right") - 1
    around = None if lapse is None else jnp.where(lapse, frame - data.start[episode], -1)
    index = clip_frames(keys[1], data.length[episode], config.clip, stride, around)
    index = index + data.start[episode][:, None]
    horizon = config.clip.horizon
    clip = Clip(
        current=data.latents[index[:, 1 : horizon + 1]],
        future=data.latents[index[:, horizon + 1 :]],
        values=data.values[index[:, : horizon + 1]],
        words=data.words[episode],
    )
    return told_others(data, jax.random.fold_in(key, 2), clip, episode, config.clip)


def told_others(
    data: LatentData, key: jax.Array, clip: Clip, episode: jax.Array, settings: ClipConfig
) -> Clip:
    """The clips, of episodes [B], a share `mismatched` of them under the instruction of an episode of another task.

    Nothing of that task is done in them: their values are 0, or unknown. With one task alone they stay as they are.
    """
    if not settings.mismatched:
        return clip
    keys, by_task = jax.random.split(key), jnp.argsort(data.task)
    own = data.task[episode]
    first, last = (jnp.searchsorted(data.task[by_task], own, side=side) for side in ("left", "right"))
    others = len(by_task) - (last - first)  # after the last of its own task, and round to the first
    other = by_task[(last + jax.random.randint(keys[0], own.shape, 0, jnp.maximum(others, 1))) % len(by_task)]
    chosen = (jax.random.uniform(keys[1], own.shape) < settings.mismatched) & (others > 0)
    value = 0.0 if settings.mismatched_value == "zero" else jnp.nan
    return clip._replace(
        values=jnp.where(chosen[:, None], value, clip.values),
        words=jnp.where(chosen[:, None], data.words[other], clip.words),
    )
