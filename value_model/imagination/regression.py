"""Regression of the next latent frame's change: one pass of the video stream for each step of the world.

With `config.outcome.classes` it is of the change that goes with an outcome which is drawn first, see `outcome`.

First, previous and last frame are stacked by channel; the step's actions and the proprioception enter through the
adaptive norms, the instruction by cross-attention. Published (arXiv 2506.00613) is a flow with diffusion forcing, see `flow`
and `worldgym`.

Dimension letters: B worlds, h and w latent height and width, C channels, K control steps of a world's step, A action, P
proprioception, L words, W width, D classes of outcomes, M numbers besides, N tokens of a picture.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.imagination.backbone import Backbone
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.outcome import Outcome
from value_model.video.blocks import grid_angles
from value_model.video.dit import patchify, unpatchify
from value_model.video.layers import Tokens, run_layers
from value_model.video.linear import Linear

VIEW = 256  # width of what the picture is told of the hand


class RegressionState(NamedTuple):
    """A `WorldState`; anchor, previous, latents: the first, the last but one and the last frame [B, h, w, C]; moved: how
    proprioception changed over the last control step [B, P], 0 at first.
    """

    anchor: jax.Array
    previous: jax.Array
    latents: jax.Array
    proprio: jax.Array
    moved: jax.Array
    words: jax.Array


class View(nnx.Module):
    """What every place of the picture is told of where the hand was and where it comes to.

    A camera at the wrist goes where the hand goes, and most of what it sees stands still: that is a function of its place
    and turn, which the adaptive norms, the same for all places, do not render.
    """

    def __init__(self, config: ImaginationConfig, *, rngs: nnx.Rngs) -> None:
        height, width, _ = config.latent_shape
        self.tokens = height * width // (config.video.patch[1] * config.video.patch[2])
        told, zeros = 2 * config.proprio_dim, nnx.initializers.zeros
        self.hidden = nnx.List([Linear(told, VIEW, rngs=rngs), Linear(VIEW, VIEW, rngs=rngs)])
        self.out = Linear(VIEW, self.tokens * config.video.width, kernel_init=zeros, rngs=rngs)

    def __call__(self, before: jax.Array, after: jax.Array) -> jax.Array:
        """For each token of the picture [B, N, W], of normalised proprioception [B, P]."""
        x = jnp.concatenate([before, after], axis=-1)
        for layer in self.hidden:
            x = nnx.silu(layer(x))
        return self.out(x).reshape(len(x), self.tokens, -1)


class Regression(Backbone):
    """A `Dynamics` that draws outcomes, or nothing."""

    def __init__(self, config: ImaginationConfig, *, rngs: nnx.Rngs) -> None:
        classes = config.outcome.classes
        super().__init__(config, classes, rngs=rngs)
        self.outcome = Outcome(config, rngs=rngs) if classes else None
        told = classes + config.hand.memory * config.proprio_dim
        self.tell = Linear(told, config.video.width, use_bias=False, rngs=rngs) if told else None
        self.view = View(config, rngs=rngs) if config.hand.leads else None

    def init(self, latents: jax.Array, proprio: jax.Array, words: jax.Array) -> RegressionState:
        """See `Dynamics`."""
        return RegressionState(latents, latents, latents, proprio, jnp.zeros_like(proprio), words)

    def resume(self, recorded: RegressionState) -> RegressionState:
        """The state of worlds that go on within an episode, of what was recorded there."""
        return recorded

    def step(
        self,
        state: RegressionState,
        actions: jax.Array,
        keys: jax.Array | None = None,
        dropped: jax.Array | None = None,
    ) -> RegressionState:
        """See `Dynamics`; of `dropped` worlds, bool [B], the video stream is not told the actions."""
        if self.outcome is None:
            return self._after(state, actions, None, dropped)
        assert keys is not None, "a world whose outcomes are drawn needs keys"
        return self._after(state, actions, self.outcome.foretold(self._known(state, actions), keys), dropped)

    def follow(
        self,
        state: RegressionState,
        actions: jax.Array,
        latents: jax.Array,
        proprio: jax.Array,
        keys: jax.Array,
        dropped: jax.Array | None = None,
    ) -> tuple[RegressionState, jax.Array]:
        """The state after a step whose outcome is told by what was recorded: latents [B, h, w, C] and proprio [B, P], which
        leads the picture, too.

        Beside it the divergence from what was foretold, in nats [B]; see `step`.
        """
        drawn, apart = self.told(state, actions, latents, proprio, keys)
        return self._after(state, actions, drawn, dropped, proprio), apart

    def told(
        self,
        state: RegressionState,
        actions: jax.Array,
        latents: jax.Array,
        proprio: jax.Array,
        keys: jax.Array,
    ) -> tuple[jax.Array | None, jax.Array]:
        """The outcome that what was recorded tells [B, D], None if none are drawn, and the divergence; see `follow`."""
        if self.outcome is None:
            return None, jnp.zeros(len(actions))
        felt = (proprio - state.proprio) / self.hand.change[...]
        came = jnp.concatenate([(latents - state.latents).reshape(len(latents), -1), felt], axis=-1)
        return self.outcome.told(self._known(state, actions), came, keys)

    def _known(self, state: RegressionState, actions: jax.Array) -> jax.Array:
        """Before a step [B, F]."""
        felt = self.hand.normalised(state.proprio), actions, *self.hand.remembered(state.moved)
        return jnp.concatenate([x.reshape(len(x), -1) for x in (state.latents, *felt)], axis=-1)

    def _after(
        self,
        state: RegressionState,
        actions: jax.Array,
        drawn: jax.Array | None,
        dropped: jax.Array | None,
        came: jax.Array | None = None,
    ) -> RegressionState:
        """The state after actions, as was drawn [B, D]; came: what leads the picture instead of its own hand [B, P]."""
        proprio, moved = self.hand(state.proprio, actions, state.moved, drawn)
        told = [*([] if drawn is None else [drawn]), *self.hand.remembered(state.moved)]
        more = jnp.concatenate(told, axis=-1) if told else None
        change = self._change(state, actions, more, proprio if came is None else came, dropped)
        return state._replace(
            previous=state.latents, latents=state.latents + change, proprio=proprio, moved=moved
        )

    def _change(
        self,
        state: RegressionState,
        actions: jax.Array,
        more: jax.Array | None,
        after: jax.Array,
        dropped: jax.Array | None,
    ) -> jax.Array:
        """Of the latent frame [B, h, w, C], at the end of which the hand is `after` [B, P]."""
        height, width = state.latents.shape[1:3]
        stacked = jnp.concatenate([state.anchor, state.previous, state.latents], axis=-1)
        x = self.stream.tokens(patchify(stacked[:, None], self.patch))
        if self.view is not None:
            seen = self.view(self.hand.normalised(state.proprio), self.hand.normalised(after))
            seen = seen if dropped is None else jnp.where(dropped[:, None, None], 0.0, seen)
            x = x + seen.reshape(x.shape).astype(x.dtype)
        unknown = None if dropped is None else dropped[:, None]
        besides = 0.0 if more is None or self.tell is None else self.tell(more)
        told = self.condition(state.proprio, actions, unknown, besides)[:, None]
        time, modulation = self.stream.time(jnp.ones((len(x), 1)), told.astype(x.dtype))
        angles = grid_angles(jnp.arange(1), self.grid, x.shape[-1] // self.heads)
        tokens = Tokens(x, self.text(state.words), modulation, angles)
        [x] = run_layers([self.stream.blocks], [tokens], self.heads, remat=self.remat)
        change = unpatchify(self.stream.read_out(x, time), self.patch, height, width)[:, 0]
        return change.astype(state.latents.dtype)
