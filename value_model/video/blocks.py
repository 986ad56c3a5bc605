"""The transformer layer that both streams are made of: Wan's DiT block, with its self-attention left to the caller.

Computes what `WanTransformer3DModel` of diffusers computes (tests/value_model/video/wan/test_weights.py), but that it
predicts y − ε where Wan predicts ε − y.

Activations have the precision of the weights; normalisation, modulation, rotation and softmax compute in float32.

Dimension letters: B batch, F frames (latent frames of a stream that share a flow time), S tokens per frame, W width
of a stream, J joint width (that of the video stream), L words, K time features.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.video.linear import Linear


def layer_norm(x: jax.Array) -> jax.Array:
    """Normalisation in float32 without trained scale; the flow time modulates its result."""
    x = x.astype(jnp.float32)
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-6)


def normalised(norm: nnx.RMSNorm | nnx.LayerNorm, x: jax.Array) -> jax.Array:
    """The norm's result, which it computes in float32, in the precision of its input."""
    return norm(x).astype(x.dtype)


def rotary_angles(positions: jax.Array, head_width: int) -> jax.Array:
    """Angles [..., head_width / 2] of rotary embedding at integer positions [..., 3]: time, height, width (Wan's split)."""
    side = head_width // 6
    sizes = (head_width // 2 - 2 * side, side, side)
    parts = []
    for axis, size in enumerate(sizes):
        frequencies = 10_000.0 ** (-jnp.arange(size) / max(size, 1))
        parts.append(positions[..., axis, None] * frequencies)
    return jnp.concatenate(parts, axis=-1)


def grid_angles(times: jax.Array, grid: tuple[int, int], head_width: int) -> jax.Array:
    """Angles [F·S, head_width / 2] of all places of a grid (rows, columns) at times [F], frame by frame, row by row."""
    places = jnp.meshgrid(times, *map(jnp.arange, grid), indexing="ij")
    return rotary_angles(jnp.stack([axis.reshape(-1) for axis in places], axis=-1), head_width)


def rotate(x: jax.Array, angles: jax.Array) -> jax.Array:
    """Rotary embedding of [B, N, heads, head_width] by angles [N, head_width / 2] or [B, N, …], on adjacent pairs."""
    first, second = x[..., 0::2].astype(jnp.float32), x[..., 1::2].astype(jnp.float32)
    cos, sin = jnp.cos(angles)[..., None, :], jnp.sin(angles)[..., None, :]
    rotated = jnp.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return rotated.reshape(x.shape).astype(x.dtype)


class TimeEmbedding(nnx.Module):
    """Flow time τ (1 clean, 0 noise) to the six modulation vectors of every layer, and to one for the head."""

    def __init__(self, width: int, features: int, *, rngs: nnx.Rngs) -> None:
        self.features = features
        self.hidden = Linear(features, width, rngs=rngs)
        self.out = Linear(width, width, rngs=rngs)
        self.project = Linear(width, 6 * width, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, tau: jax.Array, told: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """τ [B, F] to a vector [B, F, W] for the head and modulations [B, F, 6, W]. Sinusoids of 1000 (1 − τ), as Wan's.

        Args:
            told: what else conditions each frame [B, F, W], added to the embedding of τ.
        """
        half = self.features // 2
        frequencies = jnp.exp(-math.log(10_000.0) * jnp.arange(half) / half)
        angles = 1000.0 * (1.0 - tau[..., None]) * frequencies
        x = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
        x = self.out(nnx.silu(self.hidden(x)))
        x = x if told is None else x + told
        return x, self.project(nnx.silu(x)).reshape(*tau.shape, 6, -1)


class Text(NamedTuple):
    """An instruction as cross-attention reads it."""

    rows: jax.Array  # [B, L, W]
    bias: jax.Array | None  # added to the logits of the rows [B, L]; None: nothing


def padding_bias(words: jax.Array, tokens: int) -> jax.Array:
    """Logit biases [B, L] that let words [B, L, D] stand for the same words filled up to `tokens` rows with zeros.

    Wan attends to all 512 rows of an embedded text, of which nearly all are zero and so have one key and one value. r
    such rows among n weigh as much as n when log(n / r) is added to their logits: the same output, without computing
    hundreds of equal rows. Rows of zeros must be left among L unless the text has `tokens` rows of its own.
    """
    real = jnp.any(words != 0, axis=-1)
    count = jnp.sum(real, axis=-1, keepdims=True)
    each = (tokens - count) / jnp.maximum(words.shape[1] - count, 1)
    return jnp.where(real, 0.0, jnp.log(jnp.maximum(each, 1.0)))


class CrossAttention(nnx.Module):
    """Attention of a stream's tokens to the words of the instruction."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.query = Linear(width, width, rngs=rngs)
        self.key_value = Linear(width, 2 * width, rngs=rngs)
        self.query_norm = nnx.RMSNorm(width, rngs=rngs)
        self.key_norm = nnx.RMSNorm(width, rngs=rngs)
        self.out = Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array, text: Text) -> jax.Array:
        """x [B, N, W] → [B, N, W]."""
        key, value = jnp.split(self.key_value(text.rows), 2, axis=-1)
        query, key = normalised(self.query_norm, self.query(x)), normalised(self.key_norm, key)
        query, key, value = (y.reshape(*y.shape[:2], self.heads, -1) for y in (query, key, value))
        bias = None if text.bias is None else text.bias[:, None, None].astype(query.dtype)
        return self.out(jax.nn.dot_product_attention(query, key, value, bias=bias).reshape(x.shape))


class Block(nnx.Module):
    """One layer of a stream, cut where the joint attention comes in: `project` → attention → `finish`.

    With joint_width = width this is a layer of Wan. A narrower stream is projected up to the joint width for the
    attention and back after it (Mixture-of-Transformers).
    """

    def __init__(self, width: int, heads: int, feedforward: int, joint_width: int, *, rngs: nnx.Rngs) -> None:
        self.modulation = nnx.Param(jnp.zeros((6, width)))
        self.joint_in = Linear(width, 3 * joint_width, rngs=rngs)
        self.query_norm = nnx.RMSNorm(joint_width, rngs=rngs)
        self.key_norm = nnx.RMSNorm(joint_width, rngs=rngs)
        self.joint_out = Linear(joint_width, width, rngs=rngs)
        self.cross_norm = nnx.LayerNorm(width, use_fast_variance=False, rngs=rngs)
        self.cross = CrossAttention(width, heads, rngs=rngs)
        self.up = Linear(width, feedforward, rngs=rngs)
        self.down = Linear(feedforward, width, rngs=rngs)

    def project(self, x: jax.Array, time: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """x [B, F, S, W], time [B, F, 6, W] → query, key, value [B, F·S, J]."""
        shift, scale = self._modulations(time)[:2]
        qkv = self.joint_in((layer_norm(x) * (1 + scale) + shift).astype(x.dtype))
        query, key, value = jnp.split(qkv.reshape(x.shape[0], -1, qkv.shape[-1]), 3, axis=-1)
        return normalised(self.query_norm, query), normalised(self.key_norm, key), value

    def finish(self, x: jax.Array, attended: jax.Array, text: Text, time: jax.Array) -> jax.Array:
        """x [B, F, S, W], attended [B, F·S, J], time [B, F, 6, W] → x of the next layer."""
        gate, shift, scale, feed_gate = self._modulations(time)[2:]
        x = (x + gate * self.joint_out(attended).reshape(x.shape)).astype(x.dtype)
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        x = x + self.cross(normalised(self.cross_norm, flat), text).reshape(x.shape)
        hidden = nnx.gelu(self.up((layer_norm(x) * (1 + scale) + shift).astype(x.dtype)))
        return (x + feed_gate * self.down(hidden)).astype(x.dtype)

    def _modulations(self, time: jax.Array) -> list[jax.Array]:
        """Shift, scale and gate of the attention, then of the feed-forward part; each [B, F, 1, W]."""
        both = time + self.modulation[...]
        return [both[:, :, None, index] for index in range(6)]


class Stream(nnx.Module):
    """What the two streams share: time and text embeddings, a stack of blocks (leading axis: layer) and a head."""

    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        feedforward: int,
        joint_width: int,
        inputs: int,
        outputs: int,
        text_width: int,
        time_width: int,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.embed = Linear(inputs, width, rngs=rngs)
        self.time = TimeEmbedding(width, time_width, rngs=rngs)
        self.text_in = Linear(text_width, width, rngs=rngs)
        self.text_out = Linear(width, width, rngs=rngs)
        self.blocks = _stack(layers, width, heads, feedforward, joint_width, rngs)
        self.head_modulation = nnx.Param(jnp.zeros((2, width)))
        self.head = Linear(width, outputs, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def tokens(self, inputs: jax.Array) -> jax.Array:
        """Inputs [B, F, S, inputs] to tokens [B, F, S, W], in the precision of the matrices."""
        return self.embed(inputs.astype(self.embed.kernel.dtype))

    def text(self, words: jax.Array, tokens: int = 0) -> Text:
        """Embedded words [B, L, text_width], which stand for `tokens` rows, see `padding_bias`; 0: for themselves."""
        words = words.astype(self.embed.kernel.dtype)
        rows = self.text_out(nnx.gelu(self.text_in(words)))
        return Text(rows, padding_bias(words, tokens) if tokens else None)

    def read_out(self, x: jax.Array, time: jax.Array) -> jax.Array:
        """Velocities [B, F, S, outputs] of tokens [B, F, S, W] at flow-time vectors [B, F, W]."""
        shift, scale = (time[:, :, None] + self.head_modulation[...][index] for index in range(2))
        return self.head((layer_norm(x) * (1 + scale) + shift).astype(x.dtype))


def _stack(layers: int, width: int, heads: int, feedforward: int, joint_width: int, rngs: nnx.Rngs) -> Block:
    @nnx.split_rngs(splits=layers)
    @nnx.vmap(in_axes=0, out_axes=0)
    def create(rngs: nnx.Rngs) -> Block:
        return Block(width, heads, feedforward, joint_width, rngs=rngs)

    return create(rngs)
