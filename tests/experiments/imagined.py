"""A world model of random weights, which begins where real episodes of Lift begin."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
from flax import nnx

from envs.robosuite.tasks import task_spec
from envs.store import open_store
from experiments.lab.artifacts import Artifacts
from experiments.settings.config import TaskConfig
from experiments.stages.data import collect_data
from value_model.critic.config import ValueConfig, WVMConfig
from value_model.critic.network import WVMNetwork
from value_model.critic.wvm import WVM
from value_model.imagination.clips import encode_frames
from value_model.imagination.config import HandConfig, ImaginationConfig, UnrollConfig
from value_model.imagination.kinds import new_dynamics
from value_model.imagination.starts import StartBank, draw_starts
from value_model.imagination.success import Solved
from value_model.imagination.world_model import WorldModel
from value_model.video.config import TokenizerConfig, VideoConfig
from value_model.video.encoder import FrameEncoder
from value_model.video.tokenizer import Tokenizer

SMALL = ImaginationConfig(
    tokenizer=TokenizerConfig(width=8, channels=4),
    video=VideoConfig(
        layers=1, width=32, heads=2, feedforward=32, patch=(1, 4, 4), text_width=8, time_width=8
    ),
    hand=HandConfig(width=16, layers=1),
    unroll=UnrollConfig(steps=2),
)


def write_world(folder: Path, config: ImaginationConfig = SMALL, name: str = "world") -> None:
    """The world model in `folder/<name>`, and its two episodes among `folder/artifacts`."""
    data = collect_data(Artifacts(folder / "artifacts"), TaskConfig("lift"), {"clean": 2}, "world_model", 0)
    rngs = nnx.Rngs(0)
    tokenizer = Tokenizer(config.tokenizer, rngs=rngs)
    frames, told = encode_frames(FrameEncoder(config, 20.0, tokenizer), open_store(data.folder), config)
    dynamics, solved = new_dynamics(config, rngs=rngs), Solved(config, rngs=rngs)
    world = WorldModel(config, tokenizer, dynamics, solved, {"f1": 1.0}, draw_starts(frames, told, 0))
    world.save(folder / name)


def moved(module: nnx.Module, seed: int, size: float) -> nnx.Module:
    """The module with every weight moved at random, those too that start at zero."""
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [leaf + size * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return nnx.merge(graph, jax.tree.unflatten(tree, drawn), rest)


def random_world(starts: int = 3, config: ImaginationConfig = SMALL) -> WorldModel:
    """A world model of random weights, which begins Lift from random latents: nothing is simulated."""
    rngs, random = nnx.Rngs(0), np.random.default_rng(0)
    tokenizer = moved(Tokenizer(config.tokenizer, rngs=rngs), 1, 0.02)
    dynamics = moved(new_dynamics(config, rngs=rngs), 2, 0.1)
    bank = StartBank(
        latents=random.normal(size=(starts, *config.latent_shape)).astype(np.float16),
        proprio=random.normal(size=(starts, config.proprio_dim)).astype(np.float32),
        frame=np.zeros(starts, np.int32),
        instruction=(task_spec("lift").instructions[0],) * starts,
    )
    return WorldModel(config, tokenizer, dynamics, None, {}, bank)


def random_critic() -> WVM:
    """A world value model of random weights that sees what the world model shows."""
    config = WVMConfig(
        tokenizer=TokenizerConfig(width=8, channels=4),
        video=VideoConfig(layers=1, width=32, heads=2, feedforward=32, text_width=8, time_width=8),
        value=ValueConfig(width=16, heads=2, feedforward=16),
    )
    rngs = nnx.Rngs(0)
    tokenizer = moved(Tokenizer(config.tokenizer, rngs=rngs), 3, 0.02)
    return WVM(config, tokenizer, moved(WVMNetwork(config, rngs=rngs), 4, 0.1))
