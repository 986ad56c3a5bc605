"""Values of whole videos from overlapping windows, many videos in lockstep.

A window of h frames needs the value at the frame before it, which is the estimate made so far: windows of one video
follow one another, but those of different videos are a batch.

Published (arXiv 2606.24742, appendix A): one Euler step from a draw of noise. Here the noise of the values is its mean,
ε = 0, and that of the future latents, where the current ones see it, is one fixed draw: values do not depend on chance
or on which other videos are in the batch.

Dimension letters: R sequences (videos at the model's frame rate), T frames of the longest, N latents, h horizon.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from value_model.wvm import WVMNetwork, estimate


def sweep(
    network: WVMNetwork, latents: jax.Array, rows: jax.Array, lengths: jax.Array, words: jax.Array
) -> jax.Array:
    """Values [R, T] in [0, 1]: the mean over the windows that cover a frame. Beyond a sequence's length they mean nothing.

    Window k covers frames k … k + h - 1; its prefix is the value so far at frame k - 1, and 0 for the first window.

    Args:
        latents: [N, h, w, C].
        rows: which latent is frame t of sequence r, int32 [R, T] with T ≥ h; the last one is repeated beyond the length.
        lengths: frames of each sequence, int32 [R].
        words: ids [R, L].
    """
    horizon = network.config.clip.horizon
    count, frames = rows.shape
    noise = jnp.zeros((count, horizon))
    future_noise = None
    if not network.config.causal_video:
        draw = jax.random.normal(jax.random.key(0), (horizon, *network.config.latent_shape))
        future_noise = jnp.broadcast_to(draw, (count, *draw.shape))

    def window(carry: tuple[jax.Array, jax.Array], start: jax.Array):
        total, covered = carry
        before = jnp.maximum(start - 1, 0)
        prefix = jnp.where(start == 0, 0.0, total[:, before] / jnp.maximum(covered[:, before], 1.0))
        index = jax.lax.dynamic_slice(rows, (0, start), (count, horizon))
        values = estimate(network, latents[index], prefix, words, noise, future_noise)
        inside = ((start + horizon <= lengths) | (start == 0)).astype(values.dtype)[:, None]
        at = (0, start)
        total = jax.lax.dynamic_update_slice(
            total, jax.lax.dynamic_slice(total, at, (count, horizon)) + inside * values, at
        )
        covered = jax.lax.dynamic_update_slice(
            covered, jax.lax.dynamic_slice(covered, at, (count, horizon)) + inside, at
        )
        return (total, covered), None

    empty = jnp.zeros((count, frames))
    (total, covered), _ = jax.lax.scan(window, (empty, empty), jnp.arange(frames - horizon + 1))
    return total / jnp.maximum(covered, 1.0)
