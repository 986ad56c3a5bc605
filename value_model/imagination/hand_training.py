"""Training the hand alone, at last: it is small, and a grasp is decided by millimetres."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.imagination.clips import Clip, Frames, by_step, sample_clips
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.regression import Regression, RegressionState
from value_model.imagination.updates import clip_update
from value_model.video.loop import Progress, run_updates
from value_model.video.recipe import make_optimizer


def train_hand(
    dynamics: Regression,
    frames: Frames,
    config: ImaginationConfig,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> None:
    """Train the hand of the dynamics alone, unrolled over clips as long as those of the second part.

    Raises:
        UserError: a loss is not finite.
    """
    own, updates, steps = config.hand, config.hand.updates, config.unroll.steps
    graph, params, fixed = nnx.split(dynamics, nnx.All(nnx.PathContains("hand"), nnx.Param), ...)
    optimizer = make_optimizer(dataclasses.replace(config.optim, learning_rate=own.learning_rate), updates)

    def draw(data: tuple[Frames, nnx.State], key: jax.Array) -> Clip:
        return sample_clips(data[0], key, own.batch, steps, config)

    def loss(
        params: nnx.State, data: tuple[Frames, nnx.State], clip: Clip, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        return hand_loss(nnx.merge(graph, params, data[1]), clip, key), {}

    params, _ = run_updates(
        "hand",
        clip_update(optimizer, draw, loss),
        (params, optimizer.init(params)),
        (frames, fixed),
        updates,
        folder,
        seed=seed,
        per_dispatch=min(50, updates),
        checkpoint_every=max(updates // 2, 1),
        progress=progress,
    )
    nnx.update(dynamics, params)


def hand_loss(dynamics: Regression, clip: Clip, key: jax.Array) -> jax.Array:
    """Mean error of what the hand feels over a clip's steps, each after the one before; pictures and outcomes are those
    that were recorded.
    """
    keys = jax.random.split(key, clip.actions.shape[:2])
    state = RegressionState(
        clip.anchor, clip.previous, clip.latents[:, 0], clip.proprio[:, 0], clip.moved[:, 0], clip.words
    )

    def step(state: RegressionState, now: tuple[jax.Array, ...]) -> tuple[RegressionState, jax.Array]:
        actions, latents, proprio, moved, keys = now
        drawn, _ = jax.lax.stop_gradient(dynamics.told(state, actions, latents, proprio, keys))
        felt = dynamics.hand(state.proprio, actions, state.moved, drawn)
        state = state._replace(previous=state.latents, latents=latents, proprio=felt[0], moved=felt[1])
        return state, dynamics.hand.error(*felt, proprio, moved)

    return jnp.mean(jax.lax.scan(step, state, by_step(clip, keys))[1])
