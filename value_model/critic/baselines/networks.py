"""Two baselines that read the same latents as the world value model: one frame by itself, and a causal transformer.

Dimension letters: B batch, T frames at the model's rate, E episodes, W width, L words.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from envs.text import BUCKETS
from value_model.critic.baselines.config import BaselineConfig, FrameTransformerConfig, SingleFrameConfig
from value_model.critic.clips import LatentData
from value_model.critic.config import ClipConfig, WVMConfig
from value_model.video.linear import Linear


class SingleFrame(nnx.Module):
    """Regression of progress from one picture: what a critic is worth that has no memory.

    An update sees as many frames as the world value model's clips have values: batch × horizon.
    """

    def __init__(self, config: SingleFrameConfig, model: WVMConfig, *, rngs: nnx.Rngs) -> None:
        self.frames = model.optim.batch * model.clip.horizon
        height, width, channels = model.latent_shape
        inputs = height * width * channels + config.text_width
        self.words = nnx.Embed(BUCKETS, config.text_width, rngs=rngs)
        widths = [inputs, *[config.width] * config.layers]
        self.hidden = nnx.List([Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(widths)])
        self.out = Linear(config.width, 1, rngs=rngs)

    def __call__(self, latents: jax.Array, words: jax.Array) -> jax.Array:
        """Values [B, T] in [0, 1] of latents [B, T, h, w, C] under instructions of ids [B, L]."""
        batch, frames = latents.shape[:2]
        text = mean_word(self.words, words)[:, None]
        x = latents.reshape(batch, frames, -1)
        x = jnp.concatenate([x, jnp.broadcast_to(text, (batch, frames, text.shape[-1]))], axis=-1)
        for layer in self.hidden:
            x = nnx.gelu(layer(x))
        return nnx.sigmoid(self.out(x))[..., 0]

    def loss(self, data: LatentData, known: jax.Array, stride: int, key: jax.Array) -> jax.Array:
        """Mean squared error on a batch; every known frame is equally likely.

        Args:
            known: indices [K] of the frames whose values are known.
            stride: frames of an episode from one to the next at the model's rate.
        """
        frame = known[jax.random.randint(key, (self.frames,), 0, len(known))]
        episode = jnp.searchsorted(data.start, frame, side="right") - 1
        values = self(data.latents[frame][:, None], data.words[episode])[:, 0]
        return jnp.mean((values - data.values[frame]) ** 2)


class FrameTransformer(nnx.Module):
    """Progress of every frame from those up to it, trained with rewound videos.

    Source: ReWiND, arXiv 2505.10911: causal attention over the instruction and the frames, a position embedding on the
    first frame only, so that positions cannot be counted. Deviations: latents and hashed words instead of DINOv2 and
    sentence embeddings; frames at the model's rate instead of 16 of the whole video; a share of the videos stands still
    instead of being rewound (as in the world value model's clips); no mismatched instructions.
    """

    def __init__(self, config: FrameTransformerConfig, model: WVMConfig, *, rngs: nnx.Rngs) -> None:
        self.clip = model.clip
        self.shape = (model.optim.batch, config.frames)
        height, width, channels = model.latent_shape
        self.words = nnx.Embed(BUCKETS, config.width, rngs=rngs)
        self.embed = Linear(height * width * channels, config.width, rngs=rngs)
        self.first = nnx.Param(config.width**-0.5 * jax.random.normal(rngs.params(), (config.width,)))
        self.blocks = nnx.List([CausalBlock(config, rngs=rngs) for _ in range(config.layers)])
        self.norm = nnx.LayerNorm(config.width, rngs=rngs)
        self.out = Linear(config.width, 1, rngs=rngs)

    def __call__(self, latents: jax.Array, words: jax.Array) -> jax.Array:
        """Values [B, T] in [0, 1] of latents [B, T, h, w, C] under instructions of ids [B, L]."""
        x = self.embed(latents.reshape(*latents.shape[:2], -1))
        x = x.at[:, 0].add(self.first[...])
        x = jnp.concatenate([mean_word(self.words, words)[:, None], x], axis=1)
        for block in self.blocks:
            x = block(x)
        return nnx.sigmoid(self.out(self.norm(x[:, 1:])))[..., 0]

    def loss(self, data: LatentData, known: jax.Array, stride: int, key: jax.Array) -> jax.Array:
        """Mean squared error on a batch; an episode is as likely as it is long.

        Args:
            known: indices [K] of the frames whose values are known.
            stride: frames of an episode from one to the next at the model's rate.
        """
        keys = jax.random.split(key)
        batch, frames = self.shape
        frame = known[jax.random.randint(keys[0], (batch,), 0, len(known))]
        episode = jnp.searchsorted(data.start, frame, side="right") - 1
        index, there = rewound_frames(keys[1], data.length[episode], self.clip, stride, frames)
        index = index + data.start[episode][:, None]
        error = (self(data.latents[index], data.words[episode]) - data.values[index]) ** 2
        return jnp.sum(error * there) / jnp.sum(there)


class CausalBlock(nnx.Module):
    """A pre-norm transformer layer in which a token sees itself and those before it."""

    def __init__(self, config: FrameTransformerConfig, *, rngs: nnx.Rngs) -> None:
        self.heads = config.heads
        self.norm = nnx.LayerNorm(config.width, rngs=rngs)
        self.query_key_value = Linear(config.width, 3 * config.width, rngs=rngs)
        self.out = Linear(config.width, config.width, rngs=rngs)
        self.feed_norm = nnx.LayerNorm(config.width, rngs=rngs)
        self.up = Linear(config.width, config.feedforward, rngs=rngs)
        self.down = Linear(config.feedforward, config.width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, T, W] → [B, T, W]."""
        split = jnp.split(self.query_key_value(self.norm(x)), 3, axis=-1)
        query, key, value = (part.reshape(*part.shape[:2], self.heads, -1) for part in split)
        x = x + self.out(jax.nn.dot_product_attention(query, key, value, is_causal=True).reshape(x.shape))
        return x + self.down(nnx.gelu(self.up(self.feed_norm(x))))


def rewound_frames(
    key: jax.Array, length: jax.Array, clip: ClipConfig, stride: int, frames: int
) -> tuple[jax.Array, jax.Array]:
    """Sequences that run forwards, run forwards to a turning point and back, or stop there and stand still.

    The shares are those of the world value model's clips: rewind − plateau, and plateau.

    Args:
        length: frames of each episode [B].
        stride: frames of an episode between those of a sequence.
        frames: of a sequence; an episode with more of them is cut at a random place.

    Returns:
        Frame indices [B, frames] within the episodes, and which of them belong to the sequence (bool [B, frames]).
    """
    keys = jax.random.split(key, 4)
    mode, uniform = jax.random.uniform(keys[0], length.shape), jax.random.uniform(keys[1], length.shape)
    back = mode < clip.rewind - clip.plateau
    still = ~back & (mode < clip.rewind)
    phase = jnp.floor(jax.random.uniform(keys[2], length.shape) * jnp.minimum(stride, length)).astype(
        jnp.int32
    )
    steps = (length - phase + stride - 1) // stride
    begin = jnp.floor(jax.random.uniform(keys[3], length.shape) * jnp.maximum(steps - frames + 1, 1)).astype(
        jnp.int32
    )
    last = jnp.minimum(steps - begin, frames) - 1
    turn = jnp.floor(uniform * (last + 1)).astype(jnp.int32)[:, None]
    forward, last = jnp.arange(frames)[None], last[:, None]
    step = jnp.where(back[:, None], turn - jnp.abs(turn - forward), forward)
    step = jnp.where(still[:, None], jnp.minimum(forward, turn), step)
    there = (step >= 0) & (step <= last)
    index = phase[:, None] + (begin[:, None] + jnp.clip(step, 0, last)) * stride
    return index, there


def mean_word(embed: nnx.Embed, words: jax.Array) -> jax.Array:
    """Mean embedding [B, W] of the words of ids [B, L]; 0 is no word."""
    present = (words > 0)[..., None]
    return jnp.sum(embed(words) * present, axis=1) / jnp.maximum(jnp.sum(present, axis=1), 1)


BaselineNetwork = SingleFrame | FrameTransformer


def build(kind: BaselineConfig, model: WVMConfig, rngs: nnx.Rngs) -> BaselineNetwork:
    """The network of a baseline beside a world value model, with random weights."""
    if isinstance(kind, SingleFrameConfig):
        return SingleFrame(kind, model, rngs=rngs)
    return FrameTransformer(kind, model, rngs=rngs)
