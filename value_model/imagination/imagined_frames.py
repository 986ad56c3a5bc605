"""Frames as the dynamics imagine them, with what was true of the recorded ones in their place.

A classifier that has only seen recorded frames takes imagined ones, which are smoother, for something else. Each is
reached by a few steps of the model from a recorded frame, under the actions that were recorded; so few that what it shows
is still what happened.

Dimension letters: N frames, B at a time, S steps of the world, h and w latent height and width, C channels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from value_model.imagination.clips import Frames, changes
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.dynamics import where
from value_model.imagination.kinds import OwnDynamics
from value_model.imagination.regression import RegressionState

MOST = 16384  # frames
BLOCK = 256  # imagined together


def imagined_frames(dynamics: OwnDynamics, frames: Frames, config: ImaginationConfig, seed: int) -> Frames:
    """Up to `MOST` imagined frames of known outcome, as many of them solved as of the recorded ones, each after 1 to
    `config.solved.steps` steps.
    """
    random, stride = np.random.default_rng(seed), config.stride
    known, first = np.asarray(frames.solved), np.asarray(frames.first)
    passed = (np.arange(len(known)) - first) // stride
    end = random.permutation(np.flatnonzero(np.isfinite(known) & (passed > 0)))[:MOST]
    steps = random.integers(1, np.minimum(passed[end], config.solved.steps) + 1)
    graph, params = nnx.split(dynamics)
    latents, proprio = [], []
    for number, begin in enumerate(range(0, len(end), BLOCK)):
        rows = np.minimum(np.arange(begin, begin + BLOCK), len(end) - 1)
        key = jax.random.fold_in(jax.random.key(seed), number)
        there = jnp.asarray(end[rows]), jnp.asarray(steps[rows])
        seen, felt = _imagine(graph, config, params, frames, *there, key)
        latents.append(seen[: len(end) - begin])
        proprio.append(felt[: len(end) - begin])
    return frames._replace(
        latents=jnp.concatenate(latents),
        proprio=jnp.concatenate(proprio),
        actions=frames.actions[end],
        solved=frames.solved[end],
        first=frames.first[end],
        episode=frames.episode[end],
        begins=jnp.zeros(0, jnp.int32),
    )


@partial(jax.jit, static_argnums=(0, 1))
def _imagine(
    graph: nnx.GraphDef,
    config: ImaginationConfig,
    params: nnx.State,
    frames: Frames,
    end: jax.Array,
    steps: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """What stands in the place of frames `end` int32 [B], `steps` int32 [B] steps after a recorded one.

    Outcomes are what they were.
    """
    dynamics = nnx.merge(graph, params)
    start = end - steps * config.stride
    first = frames.first[end]
    before = jnp.maximum(first, start - config.stride)
    anchor, previous, last = (frames.latents[rows].astype(jnp.float32) for rows in (first, before, start))
    words = frames.words[frames.episode[end]]
    recorded = RegressionState(anchor, previous, last, frames.proprio[start], changes(frames, start), words)
    state = dynamics.resume(recorded)

    def step(state: Any, number: jax.Array) -> tuple[Any, None]:
        now = start + number * config.stride
        acted = jnp.minimum(now[:, None] + jnp.arange(config.stride), len(frames.actions) - 1)
        came = jnp.minimum(now + config.stride, end)
        then = frames.latents[came].astype(jnp.float32), frames.proprio[came]
        keys = jax.random.split(jax.random.fold_in(key, number), len(end))
        after, _ = dynamics.follow(state, frames.actions[acted], *then, keys)
        return where(number < steps, after, state), None

    state, _ = jax.lax.scan(step, state, jnp.arange(config.solved.steps))
    return state.latents.astype(jnp.float16), state.proprio
