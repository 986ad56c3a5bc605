"""How fast a world model imagines, beside the rate of plain matrix products on the same machine in the same run."""

from __future__ import annotations

import jax
import numpy as np

from envs.text import word_ids
from value_model.imagination.world_model import WorldModel
from value_model.imagination.worlds import Worlds
from value_model.video.meter import Meter

ROUNDS = 11  # steps that are timed, the first of which is left out


def measure_step(world: WorldModel, worlds: int) -> dict[str, float]:
    """Steps of the model alone, of `worlds` together: no pictures, no policy.

    Returns:
        control_steps_per_s, flops_per_step of the world, matmul_flops_per_s, matmul_share, and bytes_per_world of state.
    """
    config, bank, stepped = world.config, world.starts, Worlds(world, worlds)
    rows = np.arange(worlds) % len(bank)
    words = np.stack([word_ids(bank.instruction[row]) for row in rows])
    everyone, seeds = np.ones(worlds, bool), np.arange(worlds)
    stepped.begin(bank.latents[rows].astype(np.float32), bank.proprio[rows], words, everyone)
    chunk = np.zeros((worlds, config.stride, config.action_dim), np.float32)
    meter = Meter(config.optim.precision)
    for number in range(ROUNDS):
        stepped.advance(chunk, seeds, np.full(worlds, number), everyone)
        meter.lap()
    flops = stepped.step_flops()
    found = meter.speed(worlds, flops)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(stepped.state))
    return {
        "control_steps_per_s": config.stride * found.pop("per_s"),
        "flops_per_step": flops,
        **found,
        "bytes_per_world": size / worlds,
    }
