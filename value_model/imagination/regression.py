"""Regression of the next latent frame's change: one pass of the video stream for each step of the world.

First, previous and last frame are stacked by channel; the step's actions and the proprioception enter through the
adaptive norms, the instruction by cross-attention. Published (arXiv 2506.00613) is a flow with diffusion forcing, see `flow`
and `worldgym`.

Dimension letters: B worlds, h and w latent height and width, C channels, K control steps of a world's step, A action, P
proprioception, L words, W width.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from value_model.imagination.backbone import Backbone
from value_model.video.blocks import rotary_angles
from value_model.video.dit import patchify, unpatchify
from value_model.video.layers import Tokens, run_layers


class RegressionState(NamedTuple):
    """A `WorldState`; anchor, previous, latents: the first, the last but one and the last frame [B, h, w, C]."""

    anchor: jax.Array
    previous: jax.Array
    latents: jax.Array
    proprio: jax.Array
    words: jax.Array


class Regression(Backbone):
    """A `Dynamics` that draws nothing."""

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
        unknown = None if dropped is None else dropped[:, None]
        told = self.condition(state.proprio, actions, unknown)[:, None]
        time, modulation = self.stream.time(jnp.ones((len(x), 1)), told.astype(x.dtype))
        tokens = Tokens(x, self.text(state.words), modulation, self._angles())
        [x] = run_layers([self.stream.blocks], [tokens], self.heads, remat=self.remat)
        change = unpatchify(self.stream.read_out(x, time), self.patch, height, width)[:, 0]
        return change.astype(state.latents.dtype)

    def _angles(self) -> jax.Array:
        places = jnp.meshgrid(jnp.arange(1), *map(jnp.arange, self.grid), indexing="ij")
        positions = jnp.stack([axis.reshape(-1) for axis in places], axis=-1)
        return rotary_angles(positions, self.stream.embed.out_features // self.heads)
