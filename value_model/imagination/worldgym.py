"""The published world model's network: a latent video DiT whose layers attend within a frame and then back in time.

Source: WorldGym (arXiv 2506.00613); names and shapes of its parameters are those of the released checkpoint
(`released`), which carries no licence: this is written from the papers and from facts about the checkpoint. It computes
what the released network computes (tests/value_model/imagination/test_released.py).

Deviation: the keys and values of past frames may come from a `Ring`, which holds them across frames.

Dimension letters: B batch, T frames, h and w latent height and width, C channels, S tokens per frame, W width, A action,
L layers, R frames of the ring.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.imagination.ring import Ring, empty_ring, filled
from value_model.imagination.rotary import spatial_angles, temporal_angles
from value_model.imagination.worldgym_config import WorldGymConfig
from value_model.video.blocks import layer_norm, rotate
from value_model.video.dit import patchify, unpatchify
from value_model.video.layers import UNROLLED
from value_model.video.linear import Linear
from value_model.video.sharding import gathered, split_batch

ZEROS = nnx.initializers.zeros


class NoiseLevelEmbedding(nnx.Module):
    """Noise levels to vectors, in float32."""

    def __init__(self, features: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.features = features
        self.hidden = Linear(features, width, rngs=rngs)
        self.out = Linear(width, width, rngs=rngs)

    def __call__(self, levels: jax.Array) -> jax.Array:
        """[B, T] to [B, T, W]."""
        half = self.features // 2
        frequencies = jnp.exp(-math.log(10_000.0) * jnp.arange(half) / half)
        angles = levels[..., None] * frequencies
        x = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
        return self.out(nnx.silu(self.hidden(x)))


class AdaptiveBlock(nnx.Module):
    """Half a layer, cut where its attention comes in: `project` → attention → `finish`."""

    def __init__(self, width: int, heads: int, feedforward: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.adaptive = Linear(width, 6 * width, kernel_init=ZEROS, rngs=rngs)
        self.qkv = Linear(width, 3 * width, use_bias=False, rngs=rngs)
        self.out = Linear(width, width, rngs=rngs)
        self.up = Linear(width, feedforward, rngs=rngs)
        self.down = Linear(feedforward, width, rngs=rngs)

    def modulations(self, condition: jax.Array) -> list[jax.Array]:
        """Shift, scale and gate of the attention, then of the feed-forward part; each [B, T, 1, W], from [B, T, W]."""
        return jnp.split(self.adaptive(nnx.silu(condition))[:, :, None], 6, axis=-1)

    def project(self, x: jax.Array, modulations: list[jax.Array]) -> list[jax.Array]:
        """x [B, T, S, W] → query, key, value [B, T, S, heads, head_width]."""
        shift, scale = modulations[:2]
        qkv = self.qkv((layer_norm(x) * (1 + scale) + shift).astype(x.dtype))
        return [part.reshape(*x.shape[:3], self.heads, -1) for part in jnp.split(qkv, 3, axis=-1)]

    def finish(self, x: jax.Array, attended: jax.Array, modulations: list[jax.Array]) -> jax.Array:
        """x and attended [B, T, S, W] → x [B, T, S, W]."""
        gate, shift, scale, feed_gate = modulations[2:]
        x = (x + gate * self.out(attended)).astype(x.dtype)
        hidden = nnx.gelu(self.up((layer_norm(x) * (1 + scale) + shift).astype(x.dtype)))
        return (x + feed_gate * self.down(hidden)).astype(x.dtype)


class Layer(nnx.Module):
    """A spatial and a temporal block."""

    def __init__(self, config: WorldGymConfig, *, rngs: nnx.Rngs) -> None:
        self.spatial = AdaptiveBlock(config.width, config.heads, config.feedforward, rngs=rngs)
        self.temporal = AdaptiveBlock(config.width, config.heads, config.feedforward, rngs=rngs)


class WorldGymNetwork(nnx.Module):
    """Velocities of noised frames, each at a noise level and after an action of its own."""

    def __init__(self, config: WorldGymConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        token = config.patch**2 * config.latent_shape[2]
        self.embed = Linear(token, config.width, rngs=rngs)
        self.time = NoiseLevelEmbedding(config.time_width, config.width, rngs=rngs)
        self.act = Linear(config.action_dim, config.width, rngs=rngs)
        self.blocks = _stack(config, rngs)
        self.final = Linear(config.width, 2 * config.width, kernel_init=ZEROS, rngs=rngs)
        self.head = Linear(config.width, token, kernel_init=ZEROS, rngs=rngs)

    def __call__(self, latents: jax.Array, levels: jax.Array, actions: jax.Array) -> jax.Array:
        """Velocities [B, T, h, w, C] of a whole clip; a frame sees itself and the frames before it.

        Args:
            latents: noised [B, T, h, w, C].
            levels: noise level of each frame, int32 [B, T].
            actions: that led to each frame [B, T, A].
        """
        return self.advance(latents, levels, actions, self.ring(latents.shape[0], 0))[0]

    def advance(
        self, latents: jax.Array, levels: jax.Array, actions: jax.Array, past: Ring
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Velocities of frames that follow those of `past`; their keys and values [B, L, S, T, W] for `ring.remember`.

        Arguments as of `__call__`; the network computes in the precision of its matrices and answers in float32.
        """
        config, dtype = self.config, self.embed.kernel.dtype
        x = self.embed(patchify(latents.astype(dtype), (1, config.patch, config.patch)))
        condition = (self.time(levels) + self.act(actions.astype(dtype))).astype(dtype)
        x, keys, values = self._run_layers(x, condition, past)
        shift, scale = jnp.split(self.final(nnx.silu(condition))[:, :, None], 2, axis=-1)
        tokens = self.head((layer_norm(x) * (1 + scale) + shift).astype(dtype))
        height, width, _ = config.latent_shape
        answer = unpatchify(tokens.astype(jnp.float32), (1, config.patch, config.patch), height, width)
        return answer, keys, values

    def ring(self, batch: int, size: int) -> Ring:
        """An empty one for this network."""
        config = self.config
        dtype = self.embed.kernel.dtype
        return empty_ring(batch, config.layers, config.tokens, size, config.width, dtype)

    def _run_layers(
        self, x: jax.Array, condition: jax.Array, past: Ring
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Tokens [B, T, S, W] after the last layer; keys and values [B, L, S, T, W] of the temporal blocks."""
        config = self.config
        frames, head_width = x.shape[1], config.width // config.heads
        height, width, _ = config.latent_shape
        spatial = spatial_angles(height // config.patch, width // config.patch, head_width, config.rotary)
        temporal = temporal_angles(past.frames[:, None] + jnp.arange(frames), head_width)
        visible = seen_frames(past, frames)
        graph, params = nnx.split(self.blocks)

        def layer(x: jax.Array, read: tuple) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            x, one = split_batch(x), nnx.merge(graph, gathered(read[0]))
            told = one.spatial.modulations(condition)
            x = one.spatial.finish(x, attend_space(one.spatial.project(x, told), spatial), told)
            told = one.temporal.modulations(condition)
            query, key, value = one.temporal.project(x, told)
            query, key = rotate_time(query, temporal), rotate_time(key, temporal)
            key, value = by_token(key), by_token(value)
            attended = attend_time(query, read[1], read[2], key, value, visible)
            return one.temporal.finish(x, attended, told), (key, value)

        layer = jax.checkpoint(layer, prevent_cse=False) if config.remat else layer
        past_layers = (jnp.moveaxis(past.keys, 1, 0), jnp.moveaxis(past.values, 1, 0))
        unroll = config.layers if config.layers <= UNROLLED else 1
        x, (keys, values) = jax.lax.scan(layer, x, (params, *past_layers), unroll=unroll)
        return x, jnp.moveaxis(keys, 0, 1), jnp.moveaxis(values, 0, 1)


def attend_space(parts: list[jax.Array], angles: jax.Array) -> jax.Array:
    """Attention [B, T, S, W] among a frame's tokens, of query, key, value [B, T, S, heads, head_width]."""
    batch, frames, tokens = parts[0].shape[:3]
    query, key, value = (part.reshape(batch * frames, *part.shape[2:]) for part in parts)
    attended = jax.nn.dot_product_attention(rotate(query, angles), rotate(key, angles), value)
    return attended.reshape(batch, frames, tokens, -1)


def attend_time(
    query: jax.Array,
    past_keys: jax.Array,
    past_values: jax.Array,
    key: jax.Array,
    value: jax.Array,
    visible: jax.Array,
) -> jax.Array:
    """Attention [B, T, S, W] of each place's tokens to the same place in time.

    Args:
        query: [B, T, S, heads, head_width], rotated like all keys.
        past_keys, past_values: [B, S, R, W].
        key, value: of the new frames [B, S, T, W].
        visible: bool [B, T, R + T].
    """
    batch, frames, tokens, heads, _ = query.shape

    def rows(x: jax.Array) -> jax.Array:
        return x.reshape(batch * tokens, -1, heads, x.shape[-1] // heads)

    keys = rows(jnp.concatenate([past_keys.astype(key.dtype), key], axis=2))
    values = rows(jnp.concatenate([past_values.astype(value.dtype), value], axis=2))
    queries = query.swapaxes(1, 2).reshape(batch * tokens, frames, heads, -1)
    mask = jnp.repeat(visible[:, None], tokens, axis=0)
    attended = jax.nn.dot_product_attention(queries, keys, values, mask=mask)
    return attended.reshape(batch, tokens, frames, -1).swapaxes(1, 2)


def seen_frames(past: Ring, frames: int) -> jax.Array:
    """Who sees whom, bool [B, T, R + T]: a new frame sees what the ring holds, itself and the new ones before it."""
    kept = filled(past)
    batch, size = kept.shape
    before = jnp.broadcast_to(kept[:, None], (batch, frames, size))
    among = jnp.broadcast_to(jnp.tril(jnp.ones((frames, frames), bool)), (batch, frames, frames))
    return jnp.concatenate([before, among], axis=-1)


def rotate_time(x: jax.Array, angles: jax.Array) -> jax.Array:
    """x [B, T, S, heads, head_width] rotated to its frames' places, angles [B, T, head_width / 2]."""
    return rotate(x.reshape(*x.shape[:2], -1, x.shape[-1]), angles).reshape(x.shape)


def by_token(x: jax.Array) -> jax.Array:
    """[B, T, S, heads, head_width] as a ring keeps it: [B, S, T, W]."""
    return x.reshape(*x.shape[:3], -1).swapaxes(1, 2)


def _stack(config: WorldGymConfig, rngs: nnx.Rngs) -> Layer:
    @nnx.split_rngs(splits=config.layers)
    @nnx.vmap(in_axes=0, out_axes=0)
    def create(rngs: nnx.Rngs) -> Layer:
        return Layer(config, rngs=rngs)

    return create(rngs)
