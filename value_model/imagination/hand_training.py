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
from value_model.video.loop import Progress, gradient_step, run_updates
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

    def loss(params: nnx.State, fixed: nnx.State, clip: Clip, key: jax.Array) -> jax.Array:
        return hand_loss(nnx.merge(graph, params, fixed), clip, key)

    def update(state, key: jax.Array, data: tuple[Frames, nnx.State]):
        params, optimizer_state = state
        keys = jax.random.split(key)
        clip = sample_clips(data[0], keys[0], own.batch, steps, config)
        value, gradients = jax.value_and_grad(loss)(params, data[1], clip, keys[1])
        params, optimizer_state, norm = gradient_step(optimizer, gradients, optimizer_state, params)
        return (params, optimizer_state), {"loss": value, "grad_norm": norm}

    params, _ = run_updates(
        "hand",
        update,
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
