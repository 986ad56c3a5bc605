"""Training of `eyes`: pairs of a latent frame and what a policy's frozen eyes saw of the real picture of that moment.

Dimension letters: N frames of all episodes, M samples, B batch, S steps of the world, K control steps of a step, D numbers
that the eyes give, h and w latent height and width, C channels, A action, P proprioception, L words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from value_model.imagination.clips import Frames, encode_frames, noisy
from value_model.imagination.eyes import Eyes, EyesConfig
from value_model.imagination.quality import follow
from value_model.imagination.world_model import WorldModel
from value_model.video.frames import Episodes, episode_frames, watch
from value_model.video.loop import Progress, gradient_step, run_updates

Look = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""{camera: uint8 [B, H, W, 3]} to what the eyes make of them, float32 [B, D]."""

BLOCK = 64  # clips that are imagined together


class Pairs(NamedTuple):
    """latents: float16 [M, h, w, C], recorded and then imagined; proprio: [M, P]; seen: int32 [M], the row of `targets`
    [N, D]; recorded: how many are.
    """

    latents: jax.Array
    proprio: jax.Array
    seen: jax.Array
    targets: jax.Array
    recorded: jax.Array


def distil_eyes(
    world: WorldModel,
    episodes: Episodes,
    look: Look,
    digest: str,
    config: EyesConfig,
    folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
) -> Eyes:
    """The eyes for a world model; a killed run resumes from its last checkpoint in `folder`.

    Args:
        episodes: read twice, one at a time.
        look: the eyes that are to be imitated; digest: of them.

    Raises:
        UserError: episodes that do not fit the world model; a loss is not finite.
    """
    frames, _ = encode_frames(world.encoder, episodes, world.config)
    targets = np.concatenate(
        [look(_views(world, episode)) for episode in watch(episodes, world.config.cameras)]
    )
    pairs = _pairs(world, frames, targets, config, seed)
    eyes = Eyes(world.config, config, digest, targets.shape[1], rngs=nnx.Rngs(seed))
    eyes.felt_mean[...], eyes.felt_std[...] = jnp.mean(frames.proprio, 0), jnp.std(frames.proprio, 0) + 1e-6
    eyes.mean[...], eyes.std[...] = jnp.mean(pairs.targets, 0), jnp.std(pairs.targets, 0) + 1e-6
    return _train(eyes, pairs, config, folder, seed, progress)


def _views(world: WorldModel, episode: Any) -> dict[str, np.ndarray]:
    """Its pictures as the world model's decoded ones are."""
    return world.views(episode_frames(episode, world.config.cameras, world.config.tokenizer.image_size))


def _pairs(world: WorldModel, frames: Frames, targets: np.ndarray, config: EyesConfig, seed: int) -> Pairs:
    """Recorded frames, and those of imagined clips that lie before their episode's end."""
    stride, count = world.config.stride, len(frames.latents)
    starts = _starts(frames, config, stride, seed)
    episode = np.asarray(frames.episode)
    wanted = starts[:, None] + stride * np.arange(1, config.steps + 1)  # [clips, S]
    ends = np.minimum(wanted, count - 1)
    there = (wanted < count) & (episode[ends] == episode[starts][:, None])
    acted = np.minimum(starts[:, None] + np.arange(config.steps * stride), count - 1)
    actions = np.asarray(frames.actions)[acted].reshape(len(starts), config.steps, stride, -1)
    latents, proprio = _imagine(world, frames, starts, actions, ends, seed)
    return Pairs(
        jnp.concatenate([frames.latents, latents[there]]),
        jnp.concatenate([frames.proprio, proprio[there]]),
        jnp.asarray(np.concatenate([np.arange(count), wanted[there]]), jnp.int32),
        jnp.asarray(targets, jnp.float32),
        jnp.asarray(count),
    )


def _starts(frames: Frames, config: EyesConfig, stride: int, seed: int) -> np.ndarray:
    """Frames that clips begin with, after which a step fits: half of them are an episode's first."""
    random, episode = np.random.default_rng(seed), np.asarray(frames.episode)
    fits = np.flatnonzero(episode[:-stride] == episode[stride:])
    begins = np.intersect1d(fits, np.unique(np.asarray(frames.first)))
    half = config.clips // 2
    return np.concatenate([random.choice(begins, half), random.choice(fits, config.clips - half)])


def _imagine(
    world: WorldModel, frames: Frames, starts: np.ndarray, actions: np.ndarray, ends: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Clips from the frames `starts` under actions [clips, S, K, A], with the outcomes that frames `ends` [clips, S] tell:
    latents float16 [clips, S, h, w, C], proprio [clips, S, P].
    """
    graph, params = nnx.split(world.dynamics)
    rows = np.resize(np.arange(len(starts)), -(-len(starts) // BLOCK) * BLOCK).reshape(-1, BLOCK)
    parts = []
    for number, block in enumerate(rows):
        first = starts[block]
        begun = (
            frames.latents[first].astype(jnp.float32),
            frames.proprio[first],
            frames.words[frames.episode[first]],
        )
        told = jnp.asarray(np.swapaxes(actions[block], 0, 1))
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), number), told.shape[:2])
        came = frames.latents[ends[block].T], frames.proprio[ends[block].T]
        seen, felt = follow(graph, params, begun, told, came, keys)
        parts.append((np.asarray(seen, np.float16).swapaxes(0, 1), np.asarray(felt).swapaxes(0, 1)))
    latents, proprio = (np.concatenate(column)[: len(starts)] for column in zip(*parts, strict=True))
    return latents, proprio


def _train(
    eyes: Eyes, pairs: Pairs, config: EyesConfig, folder: Path, seed: int, progress: Progress | None
) -> Eyes:
    """Adam on the mean square error in units of what the eyes give, whose mean variance is 1."""
    graph, params, fixed = nnx.split(eyes, nnx.Param, ...)
    rate = optax.cosine_decay_schedule(config.learning_rate, config.updates, 0.01)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=config.weight_decay)
    )
    unit = jnp.mean(jnp.square(eyes.std[...]))

    def loss(params: nnx.State, fixed: nnx.State, rows: jax.Array, key: jax.Array, pairs: Pairs) -> jax.Array:
        latents = noisy(pairs.latents[rows].astype(jnp.float32), config.noise, key)
        given = nnx.merge(graph, params, fixed)(latents, pairs.proprio[rows])
        return jnp.mean(jnp.square(given - pairs.targets[pairs.seen[rows]])) / unit

    def update(state: Any, key: jax.Array, data: tuple[Pairs, nnx.State]) -> Any:
        params, optimizer_state = state
        keys = jax.random.split(key, 3)
        rows = _draw(keys[:2], data[0], config)
        value, gradients = jax.value_and_grad(loss)(params, data[1], rows, keys[2], data[0])
        params, optimizer_state, norm = gradient_step(optimizer, gradients, optimizer_state, params)
        return (params, optimizer_state), {"loss": value, "grad_norm": norm}

    params, _ = run_updates(
        "eyes",
        update,
        (params, optimizer.init(params)),
        (pairs, fixed),
        config.updates,
        folder,
        seed=seed,
        per_dispatch=min(25, config.updates),
        checkpoint_every=max(config.updates // 2, 1),
        progress=progress,
    )
    return nnx.merge(graph, params, fixed)


def _draw(keys: jax.Array, pairs: Pairs, config: EyesConfig) -> jax.Array:
    """Rows of a batch: recorded frames, then imagined ones."""
    imagined = max(1, min(round(config.imagined * config.batch), config.batch - 1))
    uniform = partial(jax.random.randint, dtype=jnp.int32)
    recorded = uniform(keys[0], (config.batch - imagined,), 0, pairs.recorded)
    return jnp.concatenate([recorded, uniform(keys[1], (imagined,), pairs.recorded, len(pairs.latents))])
