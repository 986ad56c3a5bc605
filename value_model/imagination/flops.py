"""What a frame of the published world model costs, with its keys and values kept and without.

    kept       every denoising step computes the new frame alone; one pass more stores it
    refilled   as released: the first step computes the whole window again, the others the new frame alone
    uncached   every step computes the whole window

A frame of a full window; operations are counted as `video.flops` does. Frames a second on a device are its peak times the
share of it that is reached, over the operations of a frame.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from envs.errors import check_choice
from value_model.imagination.worldgym import WorldGymNetwork
from value_model.imagination.worldgym_config import WorldGymConfig
from value_model.video.flops import count_flops

CACHES = ("kept", "refilled", "uncached")


class FrameCost(NamedTuple):
    """Of one new frame, with guidance's second branch."""

    tokens: int  # that go through the network
    flops: int


def frame_cost(config: WorldGymConfig, kept: str = "kept") -> FrameCost:
    """The cost of a frame in `config.steps` denoising steps.

    Args:
        kept: one of `CACHES`, see above.

    Raises:
        UserError: another word.
    """
    check_choice("cache", kept, CACHES)
    single, windows = {
        "kept": (config.steps + 1, 0),
        "refilled": (config.steps - 1, 1),
        "uncached": (0, config.steps),
    }[kept]
    branches = 1 if config.guidance == 1.0 else 2
    tokens = config.tokens * (single + windows * config.window)
    flops = 0
    if single:
        flops += single * pass_flops(config, 1, config.window - 1)
    if windows:
        flops += windows * pass_flops(config, config.window, 0)
    return FrameCost(branches * tokens, branches * flops)


@cache
def pass_flops(config: WorldGymConfig, frames: int, past: int) -> int:
    """Operations of one pass over `frames` new frames that see `past` kept ones."""
    graph, state = nnx.split(nnx.eval_shape(lambda: WorldGymNetwork(config, rngs=nnx.Rngs(0))))
    shape = (1, frames, *config.latent_shape)

    def advance(state: nnx.State, latents: jax.Array, levels: jax.Array, actions: jax.Array) -> Any:
        network = nnx.merge(graph, state)
        return network.advance(latents, levels, actions, network.ring(1, past))

    inputs = (
        jax.ShapeDtypeStruct(shape, jnp.float32),
        jax.ShapeDtypeStruct((1, frames), jnp.int32),
        jax.ShapeDtypeStruct((1, frames, config.action_dim), jnp.float32),
    )
    return count_flops(advance, state, *inputs)
