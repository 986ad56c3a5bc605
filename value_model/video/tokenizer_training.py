"""Training the tokenizer on single camera views drawn from the training episodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from envs.errors import UserError
from envs.store import Store
from envs.types import Episode
from value_model.video.augment import varied
from value_model.video.config import VideoModelConfig
from value_model.video.frames import Episodes, episode_frames, watch
from value_model.video.loop import Progress, gradient_step, run_updates
from value_model.video.tokenizer import Tokenizer, tokenizer_loss

SURPLUS = 4  # times the frames that the tokenizer needs are read, so that they come from many episodes


class Views(NamedTuple):
    """Single camera views uint8 [N, S, S, 3]; how much each pixel differs from the episode's first view, uint8 [N, S, S]."""

    views: Any
    moved: Any | None  # None where it does not matter


def train_tokenizer(
    episodes: Episodes, config: VideoModelConfig, folder: Path, seed: int, progress: Progress | None = None
) -> Tokenizer:
    """The VAE of `config`, trained on `config.tokenizer.frames` single camera views from the training episodes.

    Args:
        folder: gets the checkpoints; a killed training resumes from the last one.
        seed: of the weights, of which views are drawn, and of noise.

    Raises:
        UserError: no episode; a loss is not finite.
    """
    settings = config.tokenizer
    frames = jax.tree.map(jnp.asarray, sample_views(episodes, config, seed))
    graph, params, statistics = nnx.split(Tokenizer(settings, rngs=nnx.Rngs(seed)), nnx.Param, ...)
    schedule = optax.warmup_cosine_decay_schedule(0.0, settings.learning_rate, 20, max(settings.updates, 21))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def loss(params: nnx.State, statistics: nnx.State, key: jax.Array, frames: Views):
        tokenizer = nnx.merge(graph, params, statistics, copy=True)
        keys = jax.random.split(key)
        rows = jax.random.randint(keys[0], (settings.batch,), 0, frames.views.shape[0])
        weight = None if frames.moved is None else 1.0 + settings.motion_weight * frames.moved[rows] / 255.0
        views = frames.views[rows]
        if settings.augment:
            views, weight = varied(views, weight, jax.random.fold_in(key, 2))
        value, mean = tokenizer_loss(tokenizer, views, keys[1], settings.kl_weight, weight)
        tokenizer.track(jax.lax.stop_gradient(mean))
        return value, nnx.split(tokenizer, nnx.Param, ...)[2]

    def update(state, key: jax.Array, frames: Views):
        params, statistics, optimizer_state = state
        (value, statistics), gradients = jax.value_and_grad(loss, has_aux=True)(
            params, statistics, key, frames
        )
        params, optimizer_state, norm = gradient_step(optimizer, gradients, optimizer_state, params)
        return (params, statistics, optimizer_state), {"loss": value, "grad_norm": norm}

    state = (params, statistics, optimizer.init(params))
    every = max(settings.updates // 4, 1)
    params, statistics, _ = run_updates(
        "tokenizer",
        update,
        state,
        frames,
        settings.updates,
        folder,
        seed=seed,
        per_dispatch=settings.updates_per_dispatch,
        checkpoint_every=every,
        progress=progress,
    )
    return nnx.merge(graph, params, statistics, copy=True)


def _some(episodes: Episodes, config: VideoModelConfig, random: np.random.Generator) -> Iterator[Episode]:
    """Of stores only as many episodes, at random, as hold several times the frames that are wanted."""
    stores = [episodes] if isinstance(episodes, Store) else list(episodes)
    if not all(isinstance(store, Store) for store in stores):
        yield from watch(episodes, config.cameras)
        return
    views = len(config.cameras) * sum(store.total_frames for store in stores)
    share = SURPLUS * config.tokenizer.frames / max(views, 1)
    for store in stores:
        wanted = [camera for camera in config.cameras if camera in store.cameras]
        for index in range(len(store)):
            if random.random() < share:
                yield store.episode(index, wanted)


def sample_views(episodes: Episodes, config: VideoModelConfig, seed: int) -> Views:
    """Up to `frames` single views, each view of the training episodes equally likely."""
    random = np.random.default_rng(seed)
    size, limit = config.tokenizer.image_size, config.tokenizer.frames
    reservoir, seen = np.zeros((limit, size, size, 3), np.uint8), 0
    moved = np.zeros((limit, size, size), np.uint8) if config.tokenizer.motion_weight else None
    for number, episode in enumerate(_some(episodes, config, random)):
        smooth = number % 2 == 0
        shown = np.split(episode_frames(episode, config.cameras, size, smooth), len(config.cameras), axis=2)
        for camera in shown:
            for view in camera:
                place = seen if seen < limit else int(random.integers(seen + 1))
                if place < limit:
                    reservoir[place] = view
                    if moved is not None:
                        moved[place] = _difference(view, camera[0])
                seen += 1
    if not seen:
        raise UserError("no episode to train on")
    kept = min(seen, limit)
    return Views(reservoir[:kept], None if moved is None else moved[:kept])


def _difference(view: np.ndarray, first: np.ndarray) -> np.ndarray:
    """uint8 [S, S]: the largest of the colours' differences, 255 from a quarter of the range on."""
    largest = np.abs(view.astype(np.int16) - first).max(axis=-1)
    return np.minimum(4 * largest, 255).astype(np.uint8)
