"""Where a latent frame has the task's object: a probe, trained on recorded frames of which the simulator told the place.

It measures a world model and is no part of it: an imagined hand that is right says little where a grasp depends on half a
centimetre of the object's place.

Dimension letters: N frames, B of them at a time, T frames of an episode, h and w latent height and width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from envs.types import Episode
from value_model.imagination.clips import noisy
from value_model.imagination.world_model import WorldModel
from value_model.video.frames import Episodes, episode_frames, watch
from value_model.video.linear import Linear
from value_model.video.loop import gradient_step

PLACE = 3  # first numbers of `environment_state`: the object's place, metres
WIDTH, EPOCHS, BATCH, RATE, NOISE = 256, 80, 256, 1e-3, 0.1

Locate = Callable[[np.ndarray], np.ndarray]
"""Latents float32 [N, h, w, C] to where they have the object, metres, [N, 3]."""


class Probe(nnx.Module):
    """Two layers over a whole latent frame; a linear one is half a centimetre worse where the object moves."""

    def __init__(self, size: int, mean: np.ndarray, spread: float, *, rngs: nnx.Rngs) -> None:
        self.hidden = Linear(size, WIDTH, rngs=rngs)
        self.out = Linear(WIDTH, PLACE, rngs=rngs)
        self.mean, self.spread = mean, spread

    def __call__(self, latents: jax.Array) -> jax.Array:
        """[B, 3], metres."""
        return jnp.asarray(self.mean) + self.spread * self.out(
            nnx.silu(self.hidden(latents.reshape(len(latents), -1)))
        )


def places(episode: Episode) -> np.ndarray:
    """Of the object at every frame [T, 3], metres; NaN where nobody told it."""
    known = episode.environment_state[:, :PLACE]
    if known.shape[1] == PLACE:
        return known.astype(np.float32)
    return np.full((len(episode), PLACE), np.nan, np.float32)


def object_probe(world: WorldModel, episodes: Episodes, seed: int = 0) -> Locate | None:
    """A probe of every frame in a step of the world, where the place is known; None if it is known nowhere.

    Raises:
        UserError: episodes without the world model's cameras.
    """
    latents, known, every = [], [], slice(None, None, world.config.stride)
    for episode in watch(episodes, world.config.cameras):
        told = places(episode)[every]
        if np.isfinite(told).all():
            frames = episode_frames(episode, world.config.cameras, world.config.tokenizer.image_size)[every]
            latents.append(world.encoder.encode(frames).astype(np.float16))
            known.append(told)
    if not known:
        return None
    told = np.concatenate(known)
    probe = _trained(np.concatenate(latents), told, seed)
    return lambda seen: np.asarray(_read(*nnx.split(probe), jnp.asarray(seen, jnp.float32)))


@partial(jax.jit, static_argnums=0)
def _read(graph: nnx.GraphDef, params: nnx.State, latents: jax.Array) -> jax.Array:
    return nnx.merge(graph, params)(latents)


def _trained(latents: np.ndarray, told: np.ndarray, seed: int) -> Probe:
    """On latents float16 [N, h, w, C] and places [N, 3]."""
    spread = float(np.std(told - told.mean(0))) + 1e-6
    probe = Probe(latents[0].size, told.mean(0), spread, rngs=nnx.Rngs(seed))
    graph, params, fixed = nnx.split(probe, nnx.Param, ...)
    updates = EPOCHS * -(-len(told) // BATCH)
    optimizer = optax.adamw(optax.cosine_decay_schedule(RATE, updates, 0.01), weight_decay=1e-2)

    def loss(params: nnx.State, latents: jax.Array, told: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square((nnx.merge(graph, params, fixed)(latents) - told) / spread))

    def update(data: tuple[jax.Array, jax.Array], state, key: jax.Array):
        params, optimizer_state = state
        keys = jax.random.split(key)
        rows = jax.random.randint(keys[0], (BATCH,), 0, len(data[1]))
        seen = noisy(data[0][rows].astype(jnp.float32), NOISE, keys[1])
        gradients = jax.grad(loss)(params, seen, data[1][rows])
        params, optimizer_state, _ = gradient_step(optimizer, gradients, optimizer_state, params)
        return (params, optimizer_state), None

    @jax.jit
    def trained(data: tuple[jax.Array, jax.Array], state, keys: jax.Array):
        return jax.lax.scan(partial(update, data), state, keys)[0][0]

    keys = jax.random.split(jax.random.key(seed), updates)
    data = jnp.asarray(latents), jnp.asarray(told)
    return nnx.merge(graph, trained(data, (params, optimizer.init(params)), keys), fixed)
