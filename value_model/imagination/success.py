"""Whether a frame shows the task solved: a classifier on latents, trained on recorded outcomes.

Dimension letters: B batch, N frames, h and w latent height and width, C channels, P proprioception, L words, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from envs.text import BUCKETS
from value_model.imagination.clips import Frames, noisy
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.hand import Moment
from value_model.success.threshold import agreement, sweep_threshold
from value_model.video.linear import Linear
from value_model.video.loop import Progress, gradient_step, run_updates

HELD_OUT = 5  # one episode in so many sets the threshold and measures


class Solved(nnx.Module):
    """Two layers over a whole latent frame and the proprioception; and the probability from which on it says yes.

    Where it is told the instruction, the words weigh what the first layer found: h ⊙ (1 + Σ words) before the second.
    """

    def __init__(self, config: ImaginationConfig, *, rngs: nnx.Rngs) -> None:
        height, width, channels = config.latent_shape
        inputs = height * width * channels + config.proprio_dim
        self.hidden = Linear(inputs, config.solved.width, rngs=rngs)
        self.out = Linear(config.solved.width, 1, rngs=rngs)
        zeros = nnx.initializers.zeros
        width = config.solved.width
        self.words = (
            nnx.Embed(BUCKETS, width, embedding_init=zeros, rngs=rngs) if config.solved.told else None
        )
        self.mean, self.std = Moment(jnp.zeros(config.proprio_dim)), Moment(jnp.ones(config.proprio_dim))
        self.threshold = Moment(jnp.full((), 0.5))

    def logit(self, latents: jax.Array, proprio: jax.Array, words: jax.Array) -> jax.Array:
        """[B] of latents [B, h, w, C], proprio [B, P] and words int32 [B, L], 0 for none."""
        felt = (proprio - self.mean[...]) / self.std[...]
        x = jnp.concatenate([latents.reshape(len(latents), -1), felt], axis=-1)
        found = nnx.silu(self.hidden(x))
        if self.words is not None:
            found = found * (1.0 + jnp.sum(self.words(words) * (words > 0)[..., None], axis=1))
        return self.out(found)[:, 0]

    def __call__(self, latents: jax.Array, proprio: jax.Array, words: jax.Array) -> jax.Array:
        """Whether each frame shows the task solved, bool [B]."""
        return jax.nn.sigmoid(self.logit(latents, proprio, words)) >= self.threshold[...]


def train_solved(
    recorded: Frames,
    config: ImaginationConfig,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
    imagined: Frames | None = None,
) -> tuple[Solved | None, Mapping[str, float]]:
    """The classifier, and its precision and recall on frames of episodes that it was not trained on.

    Both outcomes are drawn equally often, and where there are `imagined` frames, these as often as recorded ones; then the
    threshold is set on them, for them it is to judge, and their precision and recall are told beside. Where an outcome
    does not occur, there is no classifier.
    """
    settings = config.solved
    frames = recorded if imagined is None else _joined(recorded, imagined)
    known, held = np.asarray(frames.solved), np.asarray(frames.episode) % HELD_OUT == 0
    dreamt = np.arange(len(known)) >= len(recorded.solved)
    kinds = [~dreamt] if imagined is None else [~dreamt, dreamt]
    rows = [np.flatnonzero((known == value) & ~held & kind) for value in (0, 1) for kind in kinds]
    tested = [np.flatnonzero(np.isfinite(known) & held & kind) for kind in kinds]
    if min(map(len, rows)) == 0 or any(len(np.unique(known[part])) < 2 for part in tested):
        return None, {}
    solved = Solved(config, rngs=nnx.Rngs(seed))
    solved.mean[...] = jnp.mean(frames.proprio, 0)
    solved.std[...] = jnp.std(frames.proprio, 0) + 1e-6
    graph, params, fixed = nnx.split(solved, nnx.Param, ...)
    optimizer = optax.adamw(settings.learning_rate, weight_decay=settings.weight_decay)
    drawn = tuple(jnp.asarray(part) for part in rows)

    def loss(
        params: nnx.State, fixed: nnx.State, key: jax.Array, data: Frames, rows: jax.Array, truth: jax.Array
    ):
        latents = noisy(data.latents[rows].astype(jnp.float32), settings.noise, key)
        words = data.words[data.episode[rows]]
        logit = nnx.merge(graph, params, fixed).logit(latents, data.proprio[rows], words)
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logit, truth))

    def update(state, key: jax.Array, data: tuple[Frames, nnx.State, tuple[jax.Array, ...]]):
        params, optimizer_state = state
        *keys, last = jax.random.split(key, len(rows) + 1)
        share = settings.batch // len(rows)
        chosen = jnp.concatenate(
            [
                part[jax.random.randint(key, (share,), 0, len(part))]
                for part, key in zip(data[2], keys, strict=True)
            ]
        )
        truth = jnp.repeat(jnp.arange(2.0), share * len(kinds))
        value, gradients = jax.value_and_grad(loss)(params, data[1], last, data[0], chosen, truth)
        params, optimizer_state, norm = gradient_step(optimizer, gradients, optimizer_state, params)
        return (params, optimizer_state), {"loss": value, "grad_norm": norm}

    params, _ = run_updates(
        "success classifier",
        update,
        (params, optimizer.init(params)),
        (frames, fixed, drawn),
        settings.updates,
        folder,
        seed=seed,
        per_dispatch=50,
        checkpoint_every=max(settings.updates // 2, 1),
        progress=progress,
    )
    solved = nnx.merge(graph, params, fixed)
    probability = [_probability(solved, frames, part) for part in tested]
    truth = [known[part] == 1 for part in tested]
    threshold, found = sweep_threshold(probability[-1], truth[-1])
    solved.threshold[...] = jnp.float32(threshold)
    if imagined is None:
        return solved, {**found, "frames": float(len(tested[0]))}
    told = {f"imagined_{name}": value for name, value in found.items()}
    there = agreement(probability[0] >= threshold, truth[0])
    return solved, {**there, **told, "threshold": threshold, "frames": float(len(tested[0]))}


def _joined(recorded: Frames, imagined: Frames) -> Frames:
    """All frames of both, which have their episodes in common."""
    parts = ("latents", "proprio", "solved", "episode")
    both = {name: jnp.concatenate([getattr(one, name) for one in (recorded, imagined)]) for name in parts}
    return recorded._replace(**both)


def _probability(solved: Solved, frames: Frames, rows: np.ndarray) -> np.ndarray:
    logit = jax.jit(lambda latents, *told: solved.logit(latents.astype(jnp.float32), *told))
    words = frames.words[frames.episode[rows]]
    return np.asarray(jax.nn.sigmoid(logit(frames.latents[rows], frames.proprio[rows], words)))
