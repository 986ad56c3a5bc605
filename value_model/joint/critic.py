"""The critic in a world model's folder: its own weights on disk, and the two put together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file, save_arrays
from value_model.critic.config import InferenceConfig, from_json, to_json
from value_model.critic.wvm import WVM
from value_model.imagination.world_model import load_world_model
from value_model.joint.config import CRITIC, CRITIC_WEIGHTS, require_critic
from value_model.joint.network import JointNetwork, JointReading
from value_model.video.sharding import device_mesh
from value_model.video.weights import blank, fill_arrays, flat_arrays


def save_reading(reading: JointReading, folder: Path) -> None:
    """Write the critic's configuration and its own weights, in half precision as a world model's."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: np.asarray(value, np.float16) for name, value in flat_arrays({"reading": reading}).items()
    }
    save_arrays(folder / CRITIC_WEIGHTS, arrays)
    with atomic_file(folder / CRITIC) as temporary:
        temporary.write_text(to_json(reading.config))


def fill_reading(reading: JointReading, folder: Path) -> None:
    """Put the saved weights into it.

    Raises:
        UserError: they are missing or damaged, or of another shape.
    """
    if not (folder / CRITIC_WEIGHTS).is_file():
        raise UserError(
            f"no whole critic in {folder}: {CRITIC_WEIGHTS} is missing; train the world model again"
        )
    fill_arrays({"reading": reading}, folder / CRITIC_WEIGHTS)


def load_joint_critic(folder: Path, inference: InferenceConfig | None = None) -> WVM:
    """The critic of a world model that was trained with one, on all devices.

    Args:
        inference: how to read values off it, if not as it was saved.

    Raises:
        UserError: there is none; a file is missing or damaged.
    """
    require_critic(folder)
    config = from_json((folder / CRITIC).read_text())
    if inference is not None:
        config = dataclasses.replace(config, inference=inference)
    reading = blank(JointReading, config)
    fill_reading(reading, folder)
    world = load_world_model(folder)
    return WVM(config, world.tokenizer, JointNetwork(reading, world.dynamics), device_mesh())
