"""Training what makes frames sharp, once the regression before it is trained: that stays as it is."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.imagination.clips import Clip, Frames, by_step, sample_clips
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.refine import Refined
from value_model.imagination.regression import RegressionState
from value_model.imagination.updates import clip_update
from value_model.video import hosts
from value_model.video.loop import Progress, run_updates
from value_model.video.recipe import make_optimizer
from value_model.video.sharding import device_mesh, split_batch


def train_refiner(
    dynamics: Refined,
    frames: Frames,
    config: ImaginationConfig,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> Refined:
    """The dynamics whose refiner has learnt from the means of clips of `unroll.steps` steps.

    Raises:
        UserError: a loss is not finite.
    """
    optim, updates, steps = config.optim, config.refine.updates, config.unroll.steps
    graph, params, fixed = nnx.split(dynamics, nnx.All(nnx.PathContains("refiner"), nnx.Param), ...)
    optimizer = make_optimizer(optim, updates)

    def draw(data: tuple[Frames, nnx.State], key: jax.Array) -> Clip:
        return split_batch(sample_clips(data[0], key, optim.batch, steps, config))

    def loss(
        params: nnx.State, data: tuple[Frames, nnx.State], clip: Clip, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        return refine_loss(nnx.merge(graph, params, data[1]), clip, key, config.unroll.noise), {}

    params, _ = run_updates(
        "refine",
        clip_update(optimizer, draw, loss),
        (params, optimizer.init(params)),
        (frames, fixed),
        updates,
        folder,
        seed=seed,
        per_dispatch=optim.updates_per_dispatch,
        checkpoint_every=optim.checkpoint_every,
        progress=progress,
        mesh=device_mesh(),
    )
    return nnx.merge(graph, hosts.at_home(params), fixed)


def refine_loss(dynamics: Refined, clip: Clip, key: jax.Array, largest: float) -> jax.Array:
    """Mean squared error of the frames that the refiner sees at random places on the way, over all of a clip's steps.

    Args:
        largest: standard deviation of the noise on the frames before, at most.
    """
    means = _means(dynamics, clip, jax.random.fold_in(key, 0))
    count, steps = clip.actions.shape[:2]
    keys = jax.random.split(jax.random.fold_in(key, 1), 4)

    def flat(x: jax.Array) -> jax.Array:
        return x.reshape(count * steps, *x.shape[2:])

    size = largest * jax.random.uniform(keys[0], (count, 1, 1, 1, 1))
    last = clip.latents[:, :-1] + size * jax.random.normal(keys[1], clip.latents[:, :-1].shape)
    true, mean = flat(clip.latents[:, 1:]), flat(means)
    begin = mean + dynamics.refiner.noise * jax.random.normal(keys[2], mean.shape)
    tau = jax.random.uniform(keys[3], (count * steps,))
    mixed = tau[:, None, None, None]
    own = dynamics.mean
    told = jax.lax.stop_gradient(own.condition(flat(clip.proprio[:, :-1]), flat(clip.actions)))
    text = jax.lax.stop_gradient(own.text(jnp.repeat(clip.words, steps, axis=0)))
    x = mixed * true + (1.0 - mixed) * begin
    return jnp.mean((dynamics.refiner.clean(x, tau, mean, flat(last), told, text) - true) ** 2)


def _means(dynamics: Refined, clip: Clip, key: jax.Array) -> jax.Array:
    """What the regression foretells of a clip's steps, each from the one before [B, S, h, w, C]."""
    keys = jax.random.split(key, clip.actions.shape[:2])
    state = RegressionState(
        clip.anchor, clip.previous, clip.latents[:, 0], clip.proprio[:, 0], clip.moved[:, 0], clip.words
    )

    def step(state: RegressionState, now: tuple[jax.Array, ...]) -> tuple[RegressionState, jax.Array]:
        actions, latents, proprio, _, keys = now
        state, _ = dynamics.mean.follow(state, actions, latents, proprio, keys)
        return state, state.latents

    means = jax.lax.scan(step, state, by_step(clip, keys))[1]
    return jax.lax.stop_gradient(jnp.moveaxis(means, 0, 1))
