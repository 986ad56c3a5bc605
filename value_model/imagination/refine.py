"""A regression whose frames are made sharp: a step or two of a flow from the mean that it foretells to a frame that may be.

The means go on as they are, each from the one before, so that errors over the horizon are the regression's; what is shown to
a policy, a judge or a film is drawn from them. On the way from a mean m with noise, m + σ ε, to a frame y a place is
y_τ = τ y + (1 − τ) (m + σ ε); a small network predicts y from y_τ, m, the frame shown last and the step's action, and
Euler's method follows (ŷ − y_τ) / (1 − τ).

Dimension letters: B worlds, h and w latent height and width, C channels, K control steps of a world's step, A action, P
proprioception, L words, W width.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.imagination.backbone import stream_of_three
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.hand import Hand, NoHand
from value_model.imagination.regression import Regression, RegressionState
from value_model.video.blocks import Text, grid_angles
from value_model.video.dit import patchify, unpatchify
from value_model.video.layers import Tokens, run_layers


class RefinedState(NamedTuple):
    """A `WorldState`. latents: what is shown [B, h, w, C]; mean: the regression's."""

    latents: jax.Array
    mean: RegressionState

    @property
    def proprio(self) -> jax.Array:
        """[B, P]."""
        return self.mean.proprio

    @property
    def words(self) -> jax.Array:
        """[B, L]."""
        return self.mean.words


class Refiner(nnx.Module):
    """From a mean to a frame."""

    def __init__(self, config: ImaginationConfig, *, rngs: nnx.Rngs) -> None:
        video, refine = config.video, config.refine
        self.steps, self.noise, self.remat = refine.steps, refine.noise, config.optim.remat
        self.patch, self.heads = video.patch, video.heads
        self.stream = stream_of_three(config, refine.layers, video.width, rngs=rngs)

    def clean(
        self, x: jax.Array, tau: jax.Array, mean: jax.Array, last: jax.Array, told: jax.Array, text: Text
    ) -> jax.Array:
        """The frames [B, h, w, C] that places x [B, h, w, C] on the way lead to.

        Args:
            tau: how far on the way each is [B]; 0: at the mean.
            mean, last: what is foretold, and the frame before it [B, h, w, C].
            told: of the action and the hand [B, W].
            text: the instruction, as the regression reads it.
        """
        height, width = mean.shape[1:3]
        stacked = jnp.concatenate([mean, last, x], axis=-1)
        tokens = self.stream.tokens(patchify(stacked[:, None], self.patch))
        time, modulation = self.stream.time(tau[:, None], told[:, None].astype(tokens.dtype))
        grid = height // self.patch[1], width // self.patch[2]
        angles = grid_angles(jnp.arange(1), grid, tokens.shape[-1] // self.heads)
        stream = Tokens(tokens, self.stream.text(text.rows), modulation, angles)
        [seen] = run_layers([self.stream.blocks], [stream], self.heads, remat=self.remat)
        change = unpatchify(self.stream.read_out(seen, time), self.patch, height, width)[:, 0]
        return mean + change.astype(mean.dtype)

    def draw(
        self, noise: jax.Array, mean: jax.Array, last: jax.Array, told: jax.Array, text: Text
    ) -> jax.Array:
        """Frames [B, h, w, C] from standard normal noise of that shape; see `clean`."""
        x = mean + self.noise * noise
        for number in range(self.steps):
            clean = self.clean(x, jnp.full(len(x), number / self.steps), mean, last, told, text)
            x = x + (clean - x) / (self.steps - number)
        return x


class Refined(nnx.Module):
    """A `Dynamics` that shows frames drawn from a regression's means."""

    def __init__(self, config: ImaginationConfig, *, rngs: nnx.Rngs) -> None:
        self.mean, self.refiner = Regression(config, rngs=rngs), Refiner(config, rngs=rngs)

    @property
    def stride(self) -> int:
        """See `Dynamics`."""
        return self.mean.stride

    @property
    def hand(self) -> Hand | NoHand:
        """The regression's."""
        return self.mean.hand

    @property
    def backbone(self) -> Regression:
        """See `Backbone`."""
        return self.mean

    def init(self, latents: jax.Array, proprio: jax.Array, words: jax.Array) -> RefinedState:
        """See `Dynamics`."""
        return RefinedState(latents, self.mean.init(latents, proprio, words))

    def resume(self, recorded: RegressionState) -> RefinedState:
        """See `Regression`."""
        return RefinedState(recorded.latents, recorded)

    def step(self, state: RefinedState, actions: jax.Array, keys: jax.Array) -> RefinedState:
        """See `Dynamics`."""
        return self._shown(state, self.mean.step(state.mean, actions, keys), actions, keys)

    def follow(
        self,
        state: RefinedState,
        actions: jax.Array,
        latents: jax.Array,
        proprio: jax.Array,
        keys: jax.Array,
    ) -> tuple[RefinedState, jax.Array]:
        """See `Regression`."""
        mean, apart = self.mean.follow(state.mean, actions, latents, proprio, keys)
        return self._shown(state, mean, actions, keys), apart

    def _shown(
        self, state: RefinedState, mean: RegressionState, actions: jax.Array, keys: jax.Array
    ) -> RefinedState:
        """A frame of a world is drawn from its own key."""
        own = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
        noise = jax.vmap(lambda key: jax.random.normal(key, mean.latents.shape[1:]))(own)
        told, text = self.mean.condition(state.proprio, actions), self.mean.text(state.words)
        return RefinedState(self.refiner.draw(noise, mean.latents, state.latents, told, text), mean)
