"""An update's gradients: of the whole batch at once, or summed over micro-batches, in either precision, on any devices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.critic.config import WVMConfig
from value_model.critic.network import Clip, Noised, WVMNetwork, noise_clip, noised_loss
from value_model.video.precision import compute_copy
from value_model.video.sharding import gathered_but_layers, split_batch

FROZEN = ("video", "words")  # parts of the network that `freeze_video` keeps as they are


def split_network(network: WVMNetwork, video_only: bool = False) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """The network's structure, the parameters that training leaves as they are, and those that it moves."""
    frozen = FROZEN if network.config.optim.freeze_video and not video_only else ()
    graph, fixed, params = nnx.split(network, lambda path, _: path[0] in frozen, ...)
    return graph, fixed, params


def loss_gradients(
    config: WVMConfig,
    graph: nnx.GraphDef,
    fixed: nnx.State,
    params: nnx.State,
    clip: Clip,
    key: jax.Array,
    video_only: bool = False,
) -> tuple[nnx.State, dict[str, jax.Array]]:
    """Gradients of a batch's loss with respect to `params`, float32, and the losses.

    With `optim.accumulate` micro-batches they are the same, to rounding: everything random is drawn for the whole batch.
    """
    optim = config.optim
    noised = split_batch(noise_clip(config, clip, key, video_only))
    count = jnp.sum(noised.known)

    def loss(params: nnx.State, part: Noised) -> tuple[jax.Array, dict[str, jax.Array]]:
        computed = gathered_but_layers(compute_copy((fixed, params), optim.precision))
        network = nnx.merge(graph, *computed)
        return noised_loss(network, part, count, optim.accumulate, video_only)

    gradients_of = jax.grad(loss, has_aux=True)
    if optim.accumulate == 1:
        return gradients_of(params, noised)

    def add(total: Any, part: Noised) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradients_of(params, part)), None

    parts = split_batch(jax.tree.map(lambda leaf: _interleaved(leaf, optim.accumulate), noised), axis=1)
    shapes = jax.eval_shape(gradients_of, params, jax.tree.map(lambda leaf: leaf[0], parts))
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    return jax.lax.scan(add, zeros, parts)[0]


def _interleaved(leaf: jax.Array, parts: int) -> jax.Array:
    """[B, …] to [parts, B / parts, …]; part k has every clip k, k + parts, …, so that no clip changes its device."""
    return jnp.swapaxes(leaf.reshape(-1, parts, *leaf.shape[1:]), 0, 1)
