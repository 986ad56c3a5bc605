"""How fast a world model imagines, beside the rate of plain matrix products on the same machine in the same run."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
from flax import nnx

from envs.errors import UserError
from envs.text import word_ids
from value_model.imagination.flow import Flow
from value_model.imagination.kinds import new_dynamics
from value_model.imagination.quality import Recorded, imagine
from value_model.imagination.refine import Refined
from value_model.imagination.world_model import WorldModel
from value_model.imagination.worlds import Worlds
from value_model.video.meter import Meter
from value_model.video.weights import blank

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


def draws(world: WorldModel) -> bool:
    """Whether its frames are drawn from noise, in a number of steps that may be chosen."""
    return isinstance(world.dynamics, Flow | Refined)


def drawn_in(world: WorldModel, steps: int) -> WorldModel:
    """The same weights, a frame drawn in so many steps of Euler's method.

    Raises:
        UserError: its dynamics draw none; fewer than one step.
    """
    if not draws(world) or steps < 1:
        raise UserError(
            "steps= are at least 1, of world models that draw their frames: model=flow or model=refined"
        )
    part = "flow" if isinstance(world.dynamics, Flow) else "refine"
    config = replace(world.config, **{part: replace(getattr(world.config, part), steps=steps)})
    dynamics = blank(new_dynamics, config)
    nnx.update(dynamics, nnx.state(world.dynamics))
    told = world.solved, world.success_quality, world.starts, world.eyes
    return WorldModel(config, world.tokenizer, dynamics, *told)


def sharpness(world: WorldModel, clips: Recorded, steps: int) -> tuple[float, float]:
    """Mean absolute difference of neighbouring pixels, of 255, both directions, of decoded pictures of clips after so many
    steps of the world: imagined, and of recorded latents.

    Raises:
        UserError: no clip is that long.
    """
    rows = clips.there[:, steps]
    if not rows.any():
        raise UserError(f"no held-out episode goes on for {steps} steps of the world")
    return (
        _sharp(world.decode(imagine(world, clips).latents[rows, steps - 1])),
        _sharp(world.decode(clips.latents[rows, steps])),
    )


def _sharp(pictures: np.ndarray) -> float:
    pixels = pictures.astype(np.float32)
    return float((np.abs(np.diff(pixels, axis=1)).mean() + np.abs(np.diff(pixels, axis=2)).mean()) / 2)
