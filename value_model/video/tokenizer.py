"""The video tokenizer: a small per-frame VAE, 64×64×3 pixels to 8×8×8 latents in the tiny preset.

Published: the VAE of Wan2.2, which also compresses time fourfold. Here time is folded later, by the patches of the
video DiT. Dimension letters: B frames, H height and W width in pixels, h and w in latents, C channels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.video.config import TokenizerConfig
from value_model.video.linear import Linear


class RunningStatistic(nnx.Variable):
    """Moments of the latents seen in training; not trained by gradients."""


class Tokenizer(nnx.Module):
    """Images to normalised latents and back. The pixels of a 4×4 square enter as channels, then strided convolutions."""

    def __init__(self, config: TokenizerConfig, *, rngs: nnx.Rngs) -> None:
        if config.temporal != 1 or config.spatial != 8:
            raise ValueError("this tokenizer works frame by frame and maps 8×8 pixels to a latent")
        width, channels = config.width, config.channels

        def conv(inputs: int, outputs: int, strides: int = 1) -> nnx.Conv:
            return nnx.Conv(inputs, outputs, (3, 3), strides=strides, rngs=rngs)

        self.encode_in = conv(48, width)
        self.encode_down = conv(width, 2 * width, strides=2)
        self.encode_out = Linear(2 * width, 2 * channels, rngs=rngs)
        self.decode_in = conv(channels, 2 * width)
        self.decode_up = Linear(2 * width, 4 * width, rngs=rngs)
        self.decode_mid = conv(width, width)
        self.decode_out = Linear(width, 48, rngs=rngs)
        self.mean = RunningStatistic(jnp.zeros(channels))
        self.variance = RunningStatistic(jnp.ones(channels))

    def posterior(self, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance [B, h, w, C] of the raw latents of frames uint8 [B, H, W, 3]."""
        x = space_to_depth(frames.astype(jnp.float32) / 127.5 - 1.0, 4)
        x = nnx.gelu(self.encode_in(x))
        x = self.encode_out(nnx.gelu(self.encode_down(x)))
        mean, log_variance = jnp.split(x, 2, axis=-1)
        return mean, jnp.clip(log_variance, -12.0, 4.0)

    def reconstruct(self, raw: jax.Array) -> jax.Array:
        """Pixels float32 [B, H, W, 3] in [-1, 1] from raw latents [B, h, w, C]."""
        x = self.decode_up(nnx.gelu(self.decode_in(raw)))
        x = nnx.gelu(self.decode_mid(nnx.gelu(depth_to_space(x, 2))))
        return depth_to_space(self.decode_out(x), 4)

    def encode(self, frames: jax.Array) -> jax.Array:
        """Latents [B, h, w, C] of frames uint8 [B, H, W, 3]: posterior means, normalised by the running statistics."""
        return (self.posterior(frames)[0] - self.mean[...]) * jax.lax.rsqrt(self.variance[...] + 1e-6)

    def decode(self, latents: jax.Array) -> jax.Array:
        """Pixels float32 [B, H, W, 3] in [-1, 1] from normalised latents [B, h, w, C]."""
        return self.reconstruct(latents * jnp.sqrt(self.variance[...] + 1e-6) + self.mean[...])

    def track(self, mean: jax.Array, momentum: float = 0.98) -> None:
        """Move the running statistics towards those of a batch of raw latents."""
        axes = tuple(range(mean.ndim - 1))
        self.mean[...] = momentum * self.mean[...] + (1 - momentum) * jnp.mean(mean, axes)
        self.variance[...] = momentum * self.variance[...] + (1 - momentum) * jnp.var(mean, axes)


def tokenizer_loss(
    tokenizer: Tokenizer, frames: jax.Array, key: jax.Array, kl_weight: float, weight: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Negative evidence bound per pixel: mean squared error + kl_weight · KL(q ‖ N(0, I)). Also returns the raw means.

    Args:
        weight: of each pixel's squared error [B, H, W]; None: all count alike.
    """
    mean, log_variance = tokenizer.posterior(frames)
    raw = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
    error = tokenizer.reconstruct(raw) - (frames.astype(jnp.float32) / 127.5 - 1.0)
    divergence = 0.5 * jnp.mean(mean**2 + jnp.exp(log_variance) - 1.0 - log_variance)
    squared = error**2 if weight is None else error**2 * weight[..., None]
    return jnp.mean(squared) + kl_weight * divergence, mean


def space_to_depth(x: jax.Array, factor: int) -> jax.Array:
    """[B, H, W, C] to [B, H/f, W/f, f·f·C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // factor, width // factor, -1)


def depth_to_space(x: jax.Array, factor: int) -> jax.Array:
    """[B, H, W, f·f·C] to [B, H·f, W·f, C], the inverse of `space_to_depth`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, factor, factor, channels // factor**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * factor, width * factor, -1)
