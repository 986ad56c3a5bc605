"""Values of whole videos from overlapping windows, many videos in lockstep.

A window of h frames needs the value at the frame before it, which is the estimate made so far: windows of one video
follow one another, but those of different videos are a batch.

Published (arXiv 2606.24742, appendix A): one Euler step from a draw of noise. Here the noise of the values is its mean,
ε = 0, and that of the future latents, where the current ones see it, is one fixed draw: values do not depend on chance
or on which other videos are in the batch.

Dimension letters: R sequences (videos at the model's frame rate), T frames of the longest, N latents, h horizon.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from value_model.critic.network import ValueNetwork, estimate
from value_model.video.follow import Follower
from value_model.video.precision import compute_copy
from value_model.video.sharding import place_batch, replicate, split_batch, use

PAD = 8  # lengths are rounded up to a multiple of it, so that few shapes are compiled


def sweep(
    network: ValueNetwork, latents: jax.Array, rows: jax.Array, lengths: jax.Array, words: jax.Array
) -> jax.Array:
    """Values [R, T] in [0, 1]: the mean over the windows that cover a frame. Beyond a sequence's length they mean nothing.

    Window k covers h frames from k · shift, the last one ends with the sequence. A window's prefix is the value so far
    at the frame before it, and 0 for the first window.

    Args:
        latents: of the frames [N, h, w, C], or of the windows that start at the frames [N, T', h, w, C].
        rows: which latent is frame t of sequence r, int32 [R, T] with T ≥ h; the last one is repeated beyond the length.
        lengths: frames of each sequence, int32 [R].
        words: ids [R, L].
    """
    config = network.config
    horizon, shift = config.clip.horizon, config.inference.shift
    count, frames = rows.shape
    sequence, offsets = jnp.arange(count)[:, None], jnp.arange(horizon)
    final = jnp.maximum(lengths - horizon, 0)  # where the last window of each sequence starts
    whole = latents.ndim == 5
    noise = jnp.zeros((count, horizon))
    future_noise = None
    if config.sees_future:
        chunk = (horizon // config.tokenizer.temporal, *config.latent_shape)
        draw = jax.random.normal(jax.random.key(0), chunk)
        future_noise = jnp.broadcast_to(draw, (count, *draw.shape))

    def window(carry: tuple[jax.Array, jax.Array], step: jax.Array):
        total, covered = carry
        start = jnp.minimum(step, final)
        before = sequence[:, 0], jnp.maximum(start - 1, 0)
        prefix = jnp.where(start == 0, 0.0, total[before] / jnp.maximum(covered[before], 1.0))
        at = sequence, start[:, None] + offsets
        seen = latents[rows[sequence[:, 0], start] if whole else rows[at]]
        values = estimate(network, seen, prefix, words, noise, future_noise)
        inside = (step < final + shift).astype(values.dtype)[:, None]
        return (total.at[at].add(inside * values), covered.at[at].add(inside)), None

    empty = split_batch(jnp.zeros((count, frames)))
    steps = jnp.arange(0, frames - horizon + shift, shift)
    (total, covered), _ = jax.lax.scan(window, (empty, empty), steps)
    return total / jnp.maximum(covered, 1.0)


class Sweeper:
    """`sweep`, compiled, in the precision of inference; every device has the whole network and a share of the sequences.

    Args:
        network: as it is at each call.
        network: a `ValueNetwork` that is an nnx.Module, as it is at each call.
        mesh: the devices, see `sharding.device_mesh`.
    """

    def __init__(self, network: ValueNetwork, mesh: Mesh | None = None) -> None:
        self.config = network.config
        self._mesh = mesh
        precision = self.config.inference.precision
        self._computed = Follower(network, lambda params: replicate(compute_copy(params, precision), mesh))
        self._sweep = nnx.jit(sweep)

    def __call__(
        self, latents: np.ndarray, rows: np.ndarray, lengths: np.ndarray, words: np.ndarray
    ) -> np.ndarray:
        """See `sweep`. Latents and sequences are filled up, by zeros and by the first sequence, to powers of two and to a
        multiple of the devices: what is labelled differs from call to call, and few shapes are compiled.
        """
        count, devices = len(rows), 1 if self._mesh is None else self._mesh.size
        spare = -(-_power_of_two(count) // devices) * devices - count
        batch = [np.concatenate([part, part[:1].repeat(spare, 0)]) for part in (rows, lengths, words)]
        empty = np.zeros((_power_of_two(len(latents)) - len(latents), *latents.shape[1:]), latents.dtype)
        latents = np.concatenate([latents, empty])
        with use(self._mesh):
            placed = place_batch(batch, self._mesh)
            swept = self._sweep(self._computed(), replicate(latents, self._mesh), *placed)
        return np.asarray(swept)[:count]


def _power_of_two(count: int) -> int:
    """The next power of two from `count` on, at least 8."""
    return max(8, 1 << (count - 1).bit_length())


def sweep_videos(
    sweeper: Sweeper, videos: Sequence[tuple[np.ndarray, np.ndarray]], stride: int
) -> list[np.ndarray]:
    """Values float32 [T] of videos in lockstep. Every phase of a video is a sequence of its own, `stride` frames a step.

    Args:
        videos: latents of the frames [T, h, w, C] or of the windows that start at them [T, T', h, w, C], and words.
    """
    latents = np.concatenate([video for video, _ in videos])
    sequences, words, first = [], [], 0
    for video, ids in videos:
        phases = [np.arange(first + phase, first + len(video), stride) for phase in range(stride)]
        sequences += [phase for phase in phases if len(phase)]
        words += [ids for phase in phases if len(phase)]
        first += len(video)
    lengths = np.array([len(sequence) for sequence in sequences], np.int32)
    steps = max(sweeper.config.clip.horizon, -(-int(lengths.max()) // PAD) * PAD)
    last = lengths[:, None] - 1
    rows = np.stack(
        [sequence[np.minimum(np.arange(steps), end)] for sequence, end in zip(sequences, last, strict=True)]
    )
    swept = sweeper(latents, rows.astype(np.int32), lengths, np.stack(words))
    values = np.zeros(len(latents), np.float32)
    inside = np.arange(steps) <= last
    values[rows[inside]] = swept[inside]
    return np.split(values, np.cumsum([len(video) for video, _ in videos])[:-1])
