"""How fast a world model imagines, beside the rate of plain matrix products on the same machine in the same run."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.text import MAX_WORDS, word_ids
from value_model.imagination.world_model import WorldModel
from value_model.imagination.worlds import Worlds
from value_model.video.flops import count_flops
from value_model.video.meter import Meter


def measure_step(world: WorldModel, worlds: int, rounds: int = 10, moments: int = 1) -> dict[str, float]:
    """Steps of the model alone: no pictures, no policy.

    Args:
        worlds: stepped together.
        rounds: timed, after one that is left out.
        moments: steps of the world a round.

    Returns:
        control_steps_per_s, flops_per_step of the world, matmul_flops_per_s, matmul_share, and bytes_per_world of state.
    """
    config = world.config
    stepped, bank = Worlds(world, worlds), world.starts
    rows = np.arange(worlds) % len(bank.latents)
    words = np.stack([word_ids(bank.instruction[row]) for row in rows])
    stepped.begin(bank.latents[rows].astype(np.float32), bank.proprio[rows], words, np.ones(worlds, bool))
    chunk = np.zeros((worlds, moments * config.stride, config.action_dim), np.float32)
    everyone, seeds = np.ones(worlds, bool), np.arange(worlds)
    meter = Meter(config.optim.precision)
    for number in range(rounds + 1):
        stepped.advance(chunk, seeds, np.full(worlds, number * moments), everyone)
        meter.lap()
    flops = step_flops(world)
    found = meter.speed(worlds * moments, flops)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(stepped.state))
    return {
        "control_steps_per_s": config.stride * found.pop("per_s"),
        "flops_per_step": flops,
        **found,
        "bytes_per_world": size / worlds,
    }


def step_flops(world: WorldModel) -> int:
    """Operations of one step of one world: its picture, its hand, and whether it looks solved."""
    config = world.config
    graph, params = nnx.split(world.parts)
    latents = jax.ShapeDtypeStruct((1, *config.latent_shape), jnp.float32)
    proprio = jax.ShapeDtypeStruct((1, config.proprio_dim), jnp.float32)
    actions = jax.ShapeDtypeStruct((1, config.stride, config.action_dim), jnp.float32)
    words = jax.ShapeDtypeStruct((1, MAX_WORDS), jnp.int32)

    def step(params: nnx.State, latents: Any, proprio: Any, actions: Any, words: Any) -> Any:
        parts = nnx.merge(graph, params)
        state = parts["dynamics"].step(parts["dynamics"].init(latents, proprio, words), actions)
        return state, parts["solved"](state.latents, state.proprio) if "solved" in parts else None

    return count_flops(step, params, latents, proprio, actions, words)
