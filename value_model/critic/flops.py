"""How many floating-point operations the value model takes, counted in the program that JAX traces (`video.flops`).

Model operations leave out what rematerialisation computes again, as is the custom for shares of a machine's peak (PaLM,
arXiv 2204.02311, appendix B); hardware operations count it.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from envs.text import MAX_WORDS
from value_model.critic.config import WVMConfig
from value_model.critic.gradients import loss_gradients, split_network
from value_model.critic.network import Clip, WVMNetwork, estimate, wvm_loss
from value_model.video.flops import count_flops
from value_model.video.tokenizer import Tokenizer

TEXT_ROWS = 32  # of an instruction embedded beforehand: its tokens, and one of zeros for all that follow


@cache
def train_flops(config: WVMConfig) -> int:
    """Model operations of one training clip, forwards and backwards; of a frozen part forwards only."""
    return hardware_flops(dataclasses.replace(config, optim=dataclasses.replace(config.optim, remat=False)))


@cache
def hardware_flops(config: WVMConfig) -> int:
    """`train_flops` and, with `optim.remat`, what is computed again."""
    once = dataclasses.replace(config.optim, batch=1, accumulate=1)
    config = dataclasses.replace(config, optim=once)
    graph, fixed, params = split_network(nnx.merge(*abstract_network(config)))

    def gradients(fixed: nnx.State, params: nnx.State, clip: Clip, key: jax.Array) -> Any:
        return loss_gradients(config, graph, fixed, params, clip, key)

    return count_flops(gradients, fixed, params, clip_shapes(config, 1), jax.random.key(0))


@cache
def forward_flops(config: WVMConfig) -> int:
    """Operations of the loss of one training clip, forwards only."""
    graph, params = abstract_network(config)

    def loss(params: nnx.State, clip: Clip, key: jax.Array) -> jax.Array:
        return wvm_loss(nnx.merge(graph, params), clip, key)[0]

    return count_flops(loss, params, clip_shapes(config, 1), jax.random.key(0))


@cache
def window_flops(config: WVMConfig) -> int:
    """Operations of the values of one window of h frames at inference."""
    graph, params = abstract_network(config)
    clip = clip_shapes(config, 1)
    noise = jax.ShapeDtypeStruct((1, config.clip.horizon), jnp.float32)
    prefix = jax.ShapeDtypeStruct((1,), jnp.float32)
    future = None if config.causal_video else clip.future

    def values(params: nnx.State, *inputs: Any) -> jax.Array:
        return estimate(nnx.merge(graph, params), *inputs)

    return count_flops(values, params, clip.current, prefix, clip.words, noise, future)


@cache
def encode_flops(config: WVMConfig) -> int:
    """Operations of one frame's latents, all cameras, by our tokenizer."""
    size = config.tokenizer.image_size
    views = jax.ShapeDtypeStruct((len(config.cameras), size, size, 3), jnp.uint8)
    tokenizer = nnx.eval_shape(lambda: Tokenizer(config.tokenizer, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(tokenizer)
    return count_flops(lambda state, views: nnx.merge(graph, state).encode(views), state, views)


def label_flops(config: WVMConfig) -> int:
    """Operations of labelling one frame: its latents by our tokenizer, and one window (there are as many as frames)."""
    return encode_flops(config) + window_flops(config)


def abstract_network(config: WVMConfig) -> tuple[nnx.GraphDef, nnx.State]:
    """The network's structure, and its parameters as shapes: nothing is allocated."""
    return nnx.split(nnx.eval_shape(lambda: WVMNetwork(config, rngs=nnx.Rngs(0))))


def clip_shapes(config: WVMConfig, batch: int) -> Clip:
    """A batch of training clips as shapes."""
    horizon = config.clip.horizon
    latents = (batch, horizon // config.tokenizer.temporal, *config.latent_shape)

    def zeros() -> Clip:
        return Clip(
            current=jnp.zeros(latents),
            future=jnp.zeros(latents),
            values=jnp.zeros((batch, horizon + 1)),
            words=_words(config, batch),
        )

    return jax.eval_shape(zeros)


def _words(config: WVMConfig, batch: int) -> jax.Array:
    if config.video.text_tokens:
        return jnp.zeros((batch, min(TEXT_ROWS, config.video.text_tokens), config.video.text_width))
    return jnp.zeros((batch, MAX_WORDS), jnp.int32)
