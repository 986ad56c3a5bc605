"""A value stream beside the video stream of a world model's dynamics: one backbone, two readings.

Where the dynamics read one frame at a time under its action, the critic reads h frames at once, and no action: its frames
are told `watching` instead. A frame's tokens are those of the dynamics, of the window's first frame, the one before and
itself stacked by channel. Values see the frames of their window; frames never see values, so that what is imagined does not
change by being judged.

Dimension letters: B batch, h horizon, T latent frames of a window, W width, L words, O outputs of a value.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.critic.config import WVMConfig
from value_model.critic.network import ValueNetwork, ValueReading
from value_model.imagination.kinds import OwnDynamics
from value_model.video.blocks import grid_angles
from value_model.video.dit import patchify
from value_model.video.layers import Tokens, run_layers


class JointReading(ValueReading):
    """The critic's own weights."""

    def __init__(self, config: WVMConfig, *, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs=rngs)
        self.watching = nnx.Param(jnp.zeros(config.video.width))


class JointNetwork(ValueNetwork):
    """Values of latents, by weights of which most are the dynamics'."""

    def __init__(self, reading: JointReading, dynamics: OwnDynamics) -> None:
        self.reading, self.dynamics = reading, dynamics

    @property
    def config(self) -> WVMConfig:
        """See `ValueNetwork`."""
        return self.reading.config

    def __call__(
        self,
        current: jax.Array,
        future: jax.Array | None,
        values: jax.Array,
        value_tau: jax.Array,
        video_tau: jax.Array,
        words: jax.Array,
    ) -> tuple[jax.Array, jax.Array | None]:
        """What the value tokens answer [B, h + 1, O], see `WVMNetwork`; there is no future, and nothing is said of it."""
        assert future is None, "the dynamics foretell, not the critic"
        dynamics, reading = self.dynamics.backbone, self.reading
        text = dynamics.text(words)
        video = Tokens(self._frames(current), text, self._modulation(current), self._angles(current.shape[1]))
        embedded = dynamics.words(words) * (words > 0)[..., None]
        value, time = reading.tokens(values, value_tau, embedded)
        _, y = run_layers(
            [dynamics.stream.blocks, reading.value.blocks],
            [video, value],
            dynamics.heads,
            reading.mask(current.shape[1], 0),
            dynamics.remat,
        )
        return reading.answered(y, time), None

    def _frames(self, current: jax.Array) -> jax.Array:
        """Tokens [B, T, S, W] of latents [B, T, h, w, C]."""
        first = jnp.broadcast_to(current[:, :1], current.shape)
        before = jnp.concatenate([current[:, :1], current[:, :-1]], axis=1)
        stacked = jnp.concatenate([first, before, current], axis=-1)
        own = self.dynamics.backbone
        return own.stream.tokens(patchify(stacked, own.patch))

    def _modulation(self, current: jax.Array) -> jax.Array:
        """Of clean frames [B, T, 6, W], which follow from no action that is known."""
        clean = jnp.ones(current.shape[:2])
        told = jnp.broadcast_to(self.reading.watching[...], (*clean.shape, self.config.video.width))
        return self.dynamics.backbone.stream.time(clean, told)[1]

    def _angles(self, frames: int) -> jax.Array:
        """Rotary angles [T·S, head_width / 2]: the newest frame of a window is where the dynamics' one frame is in time."""
        own = self.dynamics.backbone
        return grid_angles(jnp.arange(1 - frames, 1), own.grid, self.config.video.width // own.heads)
