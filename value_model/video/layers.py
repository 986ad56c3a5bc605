"""The one loop over transformer layers: of one stream alone, or of several whose tokens attend to each other.

It scans over the stacked layers; each is gathered when it is its turn (`sharding`), computed in the precision of its
matrices (`precision`) and, if asked for, computed again in the backward pass.

Dimension letters: B batch, F frames, S tokens per frame, W width of a stream, J joint width, N tokens of all streams, M
keys, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from value_model.video.blocks import Block, Text, rotate
from value_model.video.sharding import gathered, split_batch

UNROLLED = (
    8  # layers up to which their loop is written out: half as fast again on a CPU, but longer to compile
)


class Tokens(NamedTuple):
    """A stream's tokens before a layer, and what every layer of the stream is told."""

    x: jax.Array  # [B, F, S, W]
    text: Text
    modulation: jax.Array  # of each frame, by its flow time and whatever else conditions it [B, F, 6, W]
    angles: jax.Array | None = (
        None  # of rotary embedding, [F·S, head_width / 2] or [B, F·S, …]; None: not rotated
    )


def run_layers(
    blocks: Sequence[Block],
    streams: Sequence[Tokens],
    heads: int,
    mask: jax.Array | None = None,
    remat: bool = False,
) -> list[jax.Array]:
    """Each stream's tokens [B, F, S, W] after its last layer.

    In every layer the streams, one after the other, attend jointly: Mixture-of-Transformers (arXiv 2411.04996).

    Args:
        blocks: the stacked layers of each stream (leading axis: layer), equally many.
        heads: of the joint attention.
        mask: who sees whom, bool [N, N], query by key, in the order of the streams; None: all see all.
        remat: compute each layer's activations again in the backward pass instead of keeping them.
    """
    graphs, params = zip(*(nnx.split(stacked) for stacked in blocks), strict=True)
    ends = np.cumsum([stream.x.shape[1] * stream.x.shape[2] for stream in streams])

    def layer(xs: list[jax.Array], params: tuple[nnx.State, ...]) -> tuple[list[jax.Array], None]:
        xs, params = split_batch(xs), gathered(params)
        merged = [nnx.merge(graph, one) for graph, one in zip(graphs, params, strict=True)]
        now = [stream._replace(x=x) for stream, x in zip(streams, xs, strict=True)]
        projected = [_project(block, stream, heads) for block, stream in zip(merged, now, strict=True)]
        query, key, value = (jnp.concatenate(parts, axis=1) for parts in zip(*projected, strict=True))
        attended = jnp.split(attend(query, key, value, heads, mask), ends[:-1], axis=1)
        return [
            block.finish(stream.x, seen, stream.text, stream.modulation)
            for block, stream, seen in zip(merged, now, attended, strict=True)
        ], None

    count = jax.tree.leaves(params[0])[0].shape[0]
    layer = jax.checkpoint(layer, prevent_cse=False) if remat else layer
    start = [stream.x for stream in streams]
    return jax.lax.scan(layer, start, params, unroll=count if count <= UNROLLED else 1)[0]


class Past(NamedTuple):
    """Keys and values of tokens that came before, rotated already; M of them in every layer."""

    keys: jax.Array  # [L, B, M, J]
    values: jax.Array  # [L, B, M, J]
    visible: jax.Array  # bool [B, M]


def extend_layers(
    blocks: Block, stream: Tokens, heads: int, past: Past
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`run_layers` of one stream whose tokens see each other and those of the past, which are not computed again.

    Returns:
        the tokens after the last layer [B, F, S, W]; their keys and values [L, B, F·S, J].
    """
    graph, params = nnx.split(blocks)
    new = jnp.ones((stream.x.shape[0], stream.x.shape[1] * stream.x.shape[2]), bool)
    visible = jnp.concatenate([past.visible, new], axis=1)[:, None]

    def layer(x: jax.Array, read: tuple) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        params, past_keys, past_values = read
        x, block = split_batch(x), nnx.merge(graph, gathered(params))
        query, key, value = _project(block, stream._replace(x=x), heads)
        keys = jnp.concatenate([past_keys.astype(key.dtype), key], axis=1)
        values = jnp.concatenate([past_values.astype(value.dtype), value], axis=1)
        attended = attend(query, keys, values, heads, visible)
        return block.finish(x, attended, stream.text, stream.modulation), (key, value)

    count = past.keys.shape[0]
    unroll = count if count <= UNROLLED else 1
    x, (keys, values) = jax.lax.scan(layer, stream.x, (params, past.keys, past.values), unroll=unroll)
    return x, keys, values


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, heads: int, mask: jax.Array | None = None
) -> jax.Array:
    """Multi-head attention of query [B, N, J] to key, value [B, M, J], all rotated already.

    Args:
        mask: bool, True = may see: [N, M], or [B, N, M] or [B, 1, M] where rows differ; None: all see all.
    """
    split = [x.reshape(*x.shape[:2], heads, -1) for x in (query, key, value)]
    if mask is not None:
        mask = mask[None, None] if mask.ndim == 2 else mask[:, None]
    return jax.nn.dot_product_attention(*split, mask=mask).reshape(query.shape)


def _project(block: Block, stream: Tokens, heads: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Query, key, value [B, F·S, J], rotated."""
    query, key, value = block.project(stream.x, stream.modulation)
    if stream.angles is None:
        return query, key, value
    return _rotate_heads(query, stream.angles, heads), _rotate_heads(key, stream.angles, heads), value


def _rotate_heads(x: jax.Array, angles: jax.Array, heads: int) -> jax.Array:
    """Rotary embedding of [B, F·S, J], head by head."""
    return rotate(x.reshape(*x.shape[:2], heads, -1), angles).reshape(x.shape)
