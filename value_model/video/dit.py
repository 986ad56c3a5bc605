"""The video stream: a video DiT of Wan's architecture over latents, with one flow time per latent frame.

Dimension letters: B batch, T latent frames, h and w latent height and width, C channels, F token frames, S tokens per
frame, W width, N tokens.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.video.blocks import Stream, grid_angles
from value_model.video.config import VideoConfig
from value_model.video.layers import Tokens, run_layers


def patchify(latents: jax.Array, patch: tuple[int, int, int]) -> jax.Array:
    """[B, T, h, w, C] to [B, F, S, pt·ph·pw·C]."""
    batch, frames, height, width, channels = latents.shape
    pt, ph, pw = patch
    x = latents.reshape(batch, frames // pt, pt, height // ph, ph, width // pw, pw, channels)
    return x.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, frames // pt, -1, pt * ph * pw * channels)


def unpatchify(tokens: jax.Array, patch: tuple[int, int, int], height: int, width: int) -> jax.Array:
    """[B, F, S, pt·ph·pw·C] to [B, T, height, width, C], the inverse of `patchify`."""
    batch, frames = tokens.shape[:2]
    pt, ph, pw = patch
    x = tokens.reshape(batch, frames, height // ph, width // pw, pt, ph, pw, -1)
    return x.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, frames * pt, height, width, -1)


class VideoDiT(nnx.Module):
    """Velocities of latents. Called, it runs alone; the world value model runs its layers beside its own."""

    def __init__(self, config: VideoConfig, latent_shape: tuple[int, int, int], *, rngs: nnx.Rngs) -> None:
        self.patch = config.patch
        self.heads = config.heads
        self.text_tokens = config.text_tokens
        self.latent_shape = latent_shape
        token = config.patch[0] * config.patch[1] * config.patch[2] * latent_shape[2]
        self.stream = Stream(
            layers=config.layers,
            width=config.width,
            heads=config.heads,
            feedforward=config.feedforward,
            joint_width=config.width,
            inputs=token,
            outputs=token,
            text_width=config.text_width,
            time_width=config.time_width,
            rngs=rngs,
        )

    def __call__(self, latents: jax.Array, tau: jax.Array, text: jax.Array, remat: bool = False) -> jax.Array:
        """Velocities y − ε [B, T, h, w, C] of noised latents: all of Wan's transformer, with full attention.

        Args:
            latents: [B, T, h, w, C].
            tau: flow time of each token frame [B, F]; 1 is clean.
            text: embedded words [B, L, text_width], filled up with zeros; L may be shorter than `text_tokens`.
            remat: see `layers.run_layers`.
        """
        tokens, time = self.enter(latents, tau, text, first=0)
        [x] = run_layers([self.stream.blocks], [tokens], self.heads, remat=remat)
        return self.velocity(x, time)

    def enter(
        self, latents: jax.Array, tau: jax.Array, text: jax.Array, first: int = 1
    ) -> tuple[Tokens, jax.Array]:
        """Tokens before the first layer, and the flow times' vectors [B, F, W] that `velocity` needs.

        Args:
            latents, tau, text: see `__call__`, in any precision; the tokens have that of the matrices.
            first: see `angles`.
        """
        x = self.stream.tokens(patchify(latents, self.patch))
        time, modulation = self.stream.time(tau)
        read = self.stream.text(text, self.text_tokens)
        return Tokens(x, read, modulation, self.angles(x.shape[1], first)), time

    def angles(self, frames: int, first: int = 1) -> jax.Array:
        """Rotary angles [F·S, head_width / 2] of `frames` token frames; the first one after the prefix latent is at 1."""
        grid = self.latent_shape[0] // self.patch[1], self.latent_shape[1] // self.patch[2]
        times = jnp.arange(first, first + frames)
        return grid_angles(times, grid, self.stream.embed.out_features // self.heads)

    def velocity(self, x: jax.Array, time: jax.Array) -> jax.Array:
        """Velocities [B, T, h, w, C] of tokens [B, F, S, W] after the last layer."""
        return unpatchify(self.stream.read_out(x, time), self.patch, *self.latent_shape[:2])
