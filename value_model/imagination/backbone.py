"""What our dynamics have in common: the video stream over stacked frames, and what every frame of it is told.

Dimension letters: B worlds, K control steps of a world's step, A action, P proprioception, L words, W width.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from envs.text import BUCKETS
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.hand import Hand, NoHand
from value_model.video.blocks import Stream, Text
from value_model.video.linear import Linear


def stream_of_three(config: ImaginationConfig, layers: int, text_width: int, *, rngs: nnx.Rngs) -> Stream:
    """A stream that reads three frames stacked by channel and answers with one."""
    video = config.video
    token = video.patch[1] * video.patch[2] * config.tokenizer.channels
    return Stream(
        layers=layers,
        width=video.width,
        heads=video.heads,
        feedforward=video.feedforward,
        joint_width=video.width,
        inputs=3 * token,
        outputs=token,
        text_width=text_width,
        time_width=video.time_width,
        rngs=rngs,
    )


class Backbone(nnx.Module):
    """A stream that reads three frames stacked by channel and answers with one; words, actions and the hand beside it."""

    def __init__(self, config: ImaginationConfig, more: int = 0, *, rngs: nnx.Rngs) -> None:
        """more: how many numbers the hand is told besides proprioception and actions."""
        video, (height, width, _) = config.video, config.latent_shape
        self.stride, self.remat = config.stride, config.optim.remat
        self.patch, self.heads = video.patch, video.heads
        self.grid = (height // video.patch[1], width // video.patch[2])
        actions = config.stride * config.action_dim
        self.words = nnx.Embed(BUCKETS, video.text_width, rngs=rngs)
        self.stream = stream_of_three(config, video.layers, video.text_width, rngs=rngs)
        self.act = Linear(actions, video.width, rngs=rngs)
        felt = config.proprio_dim
        self.feel = Linear(felt, video.width, rngs=rngs) if felt else None
        self.mix = Linear(video.width, video.width, rngs=rngs)
        self.null_action = nnx.Param(jnp.zeros(video.width))
        self.hand = Hand(config.hand, felt, actions + more, rngs=rngs) if felt else NoHand()

    @property
    def backbone(self) -> Backbone:
        """What has the video stream: itself."""
        return self

    def condition(
        self,
        proprio: jax.Array,
        actions: jax.Array | None,
        dropped: jax.Array | None = None,
        more: jax.Array | float = 0.0,
    ) -> jax.Array:
        """What conditions a frame besides its flow time [..., W].

        Args:
            proprio: of the frame before [..., P].
            actions: since then [..., K, A]; None: not known.
            dropped: bool [..., 1], where they are not known.
            more: what else it is told [..., W].
        """
        acted = self.null_action[...]
        if actions is not None:
            acted = self.act(actions.reshape(*actions.shape[:-2], -1))
        if dropped is not None:
            acted = jnp.where(dropped, self.null_action[...], acted)
        felt = 0.0 if self.feel is None else self.feel(self.hand.normalised(proprio))
        return self.mix(nnx.silu(acted + felt + more))

    def text(self, words: jax.Array) -> Text:
        """An instruction, ids int32 [B, L], 0 for none, as cross-attention reads it."""
        return self.stream.text(self.words(words) * (words > 0)[..., None])
