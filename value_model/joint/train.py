"""Training a world model and a critic on one backbone: the value stream's loss beside the dynamics'."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from envs.types import Episode
from value_model.critic.clips import LatentData, sample_clips
from value_model.critic.network import wvm_loss
from value_model.critic.train import lesson, require_known, taught
from value_model.imagination.clips import Frames
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.kinds import OwnDynamics
from value_model.imagination.train import train_world_model
from value_model.imagination.world_model import WorldModel
from value_model.joint.config import JointConfig, has_critic
from value_model.joint.critic import fill_reading, save_reading
from value_model.joint.network import JointNetwork, JointReading
from value_model.video.frames import Episodes, watch
from value_model.video.loop import Progress
from value_model.video.sharding import split_batch


def train_joint(
    episodes: Episodes,
    config: ImaginationConfig,
    joint: JointConfig,
    folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
    refresh: Path | None = None,
) -> WorldModel:
    """A world model with a critic beside it in `folder`, see `train_world_model` and `load_joint_critic`.

    The critic learns from the episodes whose values are known, see `value_model.critic.train`: those of a policy's own that
    failed, or wandered, teach the dynamics alone.

    Raises:
        UserError: as `train_world_model`; critic and world do not fit each other; no episode's values are known.
    """
    return train_world_model(
        episodes, config, folder, seed, progress, refresh, ValueBeside(config, joint, episodes)
    )


class ValueBeside:
    """A `value_model.imagination.train.Reading`: the critic that learns beside a world model.

    Raises:
        UserError: no episode's values are known.
    """

    def __init__(self, world: ImaginationConfig, joint: JointConfig, episodes: Episodes) -> None:
        self.joint, self.config, self.stride = joint, joint.critic(world), world.stride
        self.lessons = [lesson(episode, self.config.clip.marked) for episode in _told_once(episodes)]
        require_known(self.lessons)
        self.network: Any = None
        self.data: Any = None

    def recipe(self) -> Mapping[str, Any]:
        """See `Reading`."""
        return dataclasses.asdict(self.joint)

    def begin(self, dynamics: OwnDynamics, frames: Frames, seed: int, refresh: Path | None) -> None:
        """See `Reading`. One to go on from that has no critic gets a new one."""
        reading = JointReading(self.config, rngs=nnx.Rngs(seed + 1))
        if refresh is not None and has_critic(refresh):
            fill_reading(reading, refresh)
        self.network = JointNetwork(reading, dynamics)
        self.data = taught(self.lessons, frames.latents, frames.words)

    def loss(
        self, network: JointNetwork, data: LatentData, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The value stream's, see `critic.network.noised_loss`, of clips that are drawn."""
        keys = jax.random.split(key)
        clip = split_batch(sample_clips(data, keys[0], self.joint.batch, self.config, self.stride))
        clip = clip._replace(current=clip.current.astype(jnp.float32))
        value, _ = wvm_loss(network, clip, keys[1])
        return self.joint.weight * value, {"value": value}

    def save(self, folder: Path) -> None:
        """See `Reading`."""
        save_reading(self.network.reading, folder)


def _told_once(episodes: Episodes) -> Iterator[Episode]:
    """The episodes, without pictures; nothing is known of values where the instruction changes on the way."""
    for episode in watch(episodes, ()):
        yield dataclasses.replace(episode, success=None) if episode.later else episode
