"""Flow matching with diffusion forcing on our own backbone: causal in time, keys and values kept across frames.

A frame y at flow time τ (1 clean, 0 noise) is y_τ = τ y + (1 − τ) ε, every frame of a training clip at a τ of its own
(Chen et al., "Diffusion Forcing", arXiv 2407.01392). A world step draws a frame from noise in a few Euler steps along
(ŷ − y_τ) / (1 − τ), where ŷ is the frame that the network predicts; one more pass stores what it turned out to be.

Deviations from WorldGym (arXiv 2506.00613): the network predicts the change from the previous frame instead of a velocity,
and sees the previous and the first frame stacked by channel, so that a single step from noise is what `regression` does;
all of the window's tokens are attended to jointly; proprioception is predicted, by a hand. In training as in use a frame of
any layer sees the window before it, so that what is kept is exact also once the window slides.

Dimension letters: B worlds, T frames, h and w latent height and width, C channels, S tokens per frame, K control steps of a
world's step, A action, P proprioception, L words, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.imagination.backbone import Backbone
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.flow_config import FlowConfig
from value_model.imagination.guidance import guided
from value_model.imagination.regression import RegressionState
from value_model.imagination.ring import Ring, empty_ring, filled, remember
from value_model.video.blocks import Text, rotary_angles
from value_model.video.dit import patchify, unpatchify
from value_model.video.layers import Past, Tokens, extend_layers, run_layers


class FlowState(NamedTuple):
    """A `WorldState`, with what the network keeps of the frames so far, under their actions and under none."""

    latents: jax.Array  # [B, h, w, C]
    proprio: jax.Array  # [B, P]
    anchor: jax.Array  # the first frame [B, h, w, C]
    words: jax.Array  # [B, L]
    ring: Ring
    null_ring: Ring | None  # None without guidance


class Flow(Backbone):
    """A `Dynamics` that draws each frame from noise."""

    def __init__(self, config: ImaginationConfig, flow: FlowConfig, *, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs=rngs)
        self.flow, self.action_dropout = flow, config.unroll.action_dropout
        self.layers, self.latent_shape = config.video.layers, config.latent_shape

    def init(self, latents: jax.Array, proprio: jax.Array, words: jax.Array) -> FlowState:
        """See `Dynamics`. No action led to the first frame: the null action."""
        rings = [self._ring(len(latents)) for _ in range(self._branches)]
        state = FlowState(latents, proprio, latents, words, rings[0], rings[1] if len(rings) > 1 else None)
        return self._store(state, latents, self.condition(proprio, None))

    def resume(self, recorded: RegressionState) -> FlowState:
        """The state of worlds that go on within an episode: as clips of the training begin, with nothing known before."""
        return self.init(recorded.latents, recorded.proprio, recorded.words)

    def follow(
        self,
        state: FlowState,
        actions: jax.Array,
        latents: jax.Array,
        proprio: jax.Array,
        keys: jax.Array,
    ) -> tuple[FlowState, jax.Array]:
        """As `step`: noise stands for what is open, and no noise is told by what was recorded. Beside it zeros [B]."""
        return self.step(state, actions, keys), jnp.zeros(len(actions))

    def step(self, state: FlowState, actions: jax.Array, keys: jax.Array) -> FlowState:
        """See `Dynamics`."""
        told = self.condition(state.proprio, actions)
        text = self.text(state.words)

        def predict(x: jax.Array, tau: jax.Array) -> jax.Array:
            frames = [
                state.latents + self._advance(state, x, tau, branch, text, ring)[0]
                for branch, ring in self._each(state, told)
            ]
            return guided(frames, self.flow.guidance)

        latents = self._denoise(self._noise(keys), predict)
        now = self._store(state, latents, told)
        proprio, _ = self.hand(state.proprio, actions, jnp.zeros_like(state.proprio))
        return now._replace(proprio=proprio)

    def clean(
        self,
        x: jax.Array,
        tau: jax.Array,
        previous: jax.Array,
        told: jax.Array,
        words: jax.Array,
    ) -> jax.Array:
        """Predictions of the clean frames [B, T, h, w, C] of a whole clip; a frame sees the window before it and itself.

        Args:
            x: noised frames [B, T, h, w, C].
            tau: flow times [B, T].
            previous: the frame before each [B, T, h, w, C]; the first frame's is that itself.
            told: see `condition`, [B, T, W].
            words: [B, L].
        """
        frames = x.shape[1]
        tokens, time = self._enter(x, tau, previous, previous[:, :1], told, self.text(words))
        angles = self._angles(jnp.arange(frames)[None])[0]
        frame = jnp.repeat(jnp.arange(frames), self._tokens)
        behind = frame[:, None] - frame[None]
        mask = (behind >= 0) & (behind < self.flow.window)
        tokens = tokens._replace(angles=angles)
        [seen] = run_layers([self.stream.blocks], [tokens], self.heads, mask, self.remat)
        return previous + self._change(seen, time)

    @property
    def _branches(self) -> int:
        return 1 if self.flow.guidance == 1.0 else 2

    @property
    def _tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    def _ring(self, batch: int) -> Ring:
        dtype, width = self.stream.embed.kernel.dtype, self.stream.embed.out_features
        return empty_ring(batch, self.layers, self._tokens, self.flow.window - 1, width, dtype)

    def _each(self, state: FlowState, told: jax.Array) -> list[tuple[jax.Array, Ring]]:
        """What is told, and with guidance the same without the action, each with what was kept under it."""
        branches = [(told, state.ring)]
        if state.null_ring is None:
            return branches
        return [*branches, (self.condition(state.proprio, None), state.null_ring)]

    def _enter(
        self,
        x: jax.Array,
        tau: jax.Array,
        previous: jax.Array,
        anchor: jax.Array,
        told: jax.Array,
        text: Text,
    ) -> tuple[Tokens, jax.Array]:
        """Tokens before the first layer, not rotated yet, and the frames' vectors [B, T, W] for the head."""
        stacked = jnp.concatenate([jnp.broadcast_to(anchor, x.shape), previous, x], axis=-1)
        tokens = self.stream.tokens(patchify(stacked, self.patch))
        time, modulation = self.stream.time(tau, told)
        return Tokens(tokens, text, modulation), time

    def _change(self, seen: jax.Array, time: jax.Array) -> jax.Array:
        """Of each frame from the one before [B, T, h, w, C], of tokens [B, T, S, W] after the last layer."""
        return unpatchify(
            self.stream.read_out(seen, time).astype(jnp.float32), self.patch, *self.latent_shape[:2]
        )

    def _advance(
        self, state: FlowState, x: jax.Array, tau: jax.Array, told: jax.Array, text: Text, ring: Ring
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The change from the newest frame [B, h, w, C] to x [B, h, w, C] at τ; its keys and values [B, L, S, 1, W]."""
        batch = len(x)
        taus = jnp.broadcast_to(tau, (batch, 1))
        previous, anchor = state.latents[:, None], state.anchor[:, None]
        tokens, time = self._enter(x[:, None], taus, previous, anchor, told[:, None], text)
        tokens = tokens._replace(angles=self._angles(ring.frames[:, None]))
        seen, keys, values = extend_layers(self.stream.blocks, tokens, self.heads, as_past(ring))
        kept = [jnp.moveaxis(part, 0, 1)[:, :, :, None] for part in (keys, values)]
        return self._change(seen, time)[:, 0], kept[0], kept[1]

    def _store(self, state: FlowState, latents: jax.Array, told: jax.Array) -> FlowState:
        """The state once this frame is known."""
        tau, text = 1.0 - self.flow.context_noise, self.text(state.words)
        rings = []
        for branch, ring in self._each(state, told):
            _, keys, values = self._advance(state, tau * latents, jnp.float32(tau), branch, text, ring)
            rings.append(remember(ring, keys, values))
        null_ring = rings[1] if len(rings) > 1 else None
        return state._replace(latents=latents, ring=rings[0], null_ring=null_ring)

    def _noise(self, keys: jax.Array) -> jax.Array:
        """[B, h, w, C]: equal keys, equal noise."""
        return jax.vmap(lambda key: jax.random.normal(key, self.latent_shape))(keys)

    def _denoise(self, noise: jax.Array, predict: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
        """A clean frame from noise; `predict` gives it from the frame [B, h, w, C] at a flow time."""
        steps = self.flow.steps

        def euler(x: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
            share = 1.0 / (steps - number)  # of what is left of the way: 1 in the last step
            return x + share * (predict(x, number / steps) - x), None

        return jax.lax.scan(euler, noise, jnp.arange(steps, dtype=jnp.float32))[0]

    def _angles(self, frames: jax.Array) -> jax.Array:
        """Rotary angles [B, T·S, head_width / 2] of frames at places [B, T] in time."""
        rows, columns = jnp.meshgrid(*map(jnp.arange, self.grid), indexing="ij")
        place = jnp.stack([rows.reshape(-1), columns.reshape(-1)], axis=-1)
        batch, count = frames.shape
        places = jnp.broadcast_to(place, (batch, count, *place.shape))
        times = jnp.broadcast_to(frames[:, :, None, None], (*places.shape[:3], 1))
        positions = jnp.concatenate([times, places], axis=-1).reshape(batch, -1, 3)
        return rotary_angles(positions, self.stream.embed.out_features // self.heads)


def as_past(ring: Ring) -> Past:
    """A ring's frames as tokens [L, B, S·R, W] that may be seen."""
    batch, layers, tokens, size, width = ring.keys.shape

    def flat(x: jax.Array) -> jax.Array:
        return jnp.moveaxis(x.reshape(batch, layers, tokens * size, width), 1, 0)

    return Past(flat(ring.keys), flat(ring.values), jnp.tile(filled(ring), (1, tokens)))
