"""Regression of the next latent frame's change: one pass of the video stream for each step of the world.

First, previous and last frame are stacked by channel; the step's actions and the proprioception enter through the
adaptive norms, the instruction by cross-attention. Published (arXiv 2506.00613): flow matching with diffusion forcing; at
this size and budget that stays deaf to the actions (docs/imagination.md).

Dimension letters: B worlds, h and w latent height and width, C channels, K control steps of a world's step, A action, P
proprioception, L words, W width.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from envs.text import BUCKETS
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.hand import Hand
from value_model.video.blocks import Stream, rotary_angles
from value_model.video.dit import patchify, unpatchify
from value_model.video.layers import Tokens, run_layers
from value_model.video.linear import Linear


class RegressionState(NamedTuple):
    """A `WorldState`; anchor, previous, latents: the first, the last but one and the last frame [B, h, w, C]."""

    anchor: jax.Array
    previous: jax.Array
    latents: jax.Array
    proprio: jax.Array
    words: jax.Array


class Regression(nnx.Module):
    """A `Dynamics` that draws nothing."""

    def __init__(self, config: ImaginationConfig, *, rngs: nnx.Rngs) -> None:
        video, (height, width, channels) = config.video, config.latent_shape
        self.stride, self.patch, self.heads, self.remat = (
            config.stride,
            video.patch,
            video.heads,
            config.optim.remat,
        )
        self.grid = (height // video.patch[1], width // video.patch[2])
        token, actions = video.patch[1] * video.patch[2] * channels, config.stride * config.action_dim
        self.words = nnx.Embed(BUCKETS, video.text_width, rngs=rngs)
        self.stream = Stream(
            layers=video.layers,
            width=video.width,
            heads=video.heads,
            feedforward=video.feedforward,
            joint_width=video.width,
            inputs=3 * token,
            outputs=token,
            text_width=video.text_width,
            time_width=video.time_width,
            rngs=rngs,
        )
        self.act = Linear(actions, video.width, rngs=rngs)
        self.feel = Linear(config.proprio_dim, video.width, rngs=rngs)
        self.mix = Linear(video.width, video.width, rngs=rngs)
        self.null_action = nnx.Param(jnp.zeros(video.width))
        self.hand = Hand(config.hand, config.proprio_dim, actions, rngs=rngs)

    def init(self, latents: jax.Array, proprio: jax.Array, words: jax.Array) -> RegressionState:
        """See `Dynamics`."""
        return RegressionState(latents, latents, latents, proprio, words)

    def step(
        self,
        state: RegressionState,
        actions: jax.Array,
        keys: jax.Array | None = None,
        dropped: jax.Array | None = None,
    ) -> RegressionState:
        """See `Dynamics`; of `dropped` worlds, bool [B], the video stream is not told the actions."""
        change = self._change(state, actions, dropped)
        proprio = self.hand(state.proprio, actions)
        return state._replace(previous=state.latents, latents=state.latents + change, proprio=proprio)

    def _change(self, state: RegressionState, actions: jax.Array, dropped: jax.Array | None) -> jax.Array:
        """Of the latent frame [B, h, w, C]."""
        height, width = state.latents.shape[1:3]
        stacked = jnp.concatenate([state.anchor, state.previous, state.latents], axis=-1)
        x = self.stream.tokens(patchify(stacked[:, None], self.patch))
        told = self._condition(state.proprio, actions, dropped)[:, None]
        time, modulation = self.stream.time(jnp.ones((len(x), 1)), told.astype(x.dtype))
        words = self.words(state.words) * (state.words > 0)[..., None]
        tokens = Tokens(x, self.stream.text(words), modulation, self._angles())
        [x] = run_layers([self.stream.blocks], [tokens], self.heads, remat=self.remat)
        change = unpatchify(self.stream.read_out(x, time), self.patch, height, width)[:, 0]
        return change.astype(state.latents.dtype)

    def _condition(self, proprio: jax.Array, actions: jax.Array, dropped: jax.Array | None) -> jax.Array:
        """[B, W]."""
        acted = self.act(actions.reshape(len(actions), -1))
        if dropped is not None:
            acted = jnp.where(dropped[:, None], self.null_action[...], acted)
        return self.mix(nnx.silu(acted + self.feel(self.hand.normalised(proprio))))

    def _angles(self) -> jax.Array:
        places = jnp.meshgrid(jnp.arange(1), *map(jnp.arange, self.grid), indexing="ij")
        positions = jnp.stack([axis.reshape(-1) for axis in places], axis=-1)
        return rotary_angles(positions, self.stream.embed.out_features // self.heads)
