"""Settings of a value stream that shares a world model's weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from envs.errors import UserError
from value_model.critic.config import ClipConfig, InferenceConfig, ValueConfig, WVMConfig
from value_model.imagination.config import ImaginationConfig

CRITIC, CRITIC_WEIGHTS = "critic.json", "critic.safetensors"  # beside a world model's files


@dataclass(frozen=True)
class JointConfig:
    """A critic that is trained with a world model, on the same blocks. Its future is the dynamics' to foretell."""

    joint: bool = False  # whether there is one
    weight: float = 1.0  # of its loss beside the dynamics'
    batch: int = 64  # clips in each of the dynamics' updates
    value: ValueConfig = field(default_factory=ValueConfig)
    clip: ClipConfig = field(default_factory=lambda: ClipConfig(future=False))  # its fps are the world's
    inference: InferenceConfig = field(default_factory=InferenceConfig)

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.batch < 1:
            raise UserError("critic.weight must be above 0, critic.batch at least 1")
        if self.clip.future:
            raise UserError(
                "a critic that shares a world model imagines by its dynamics: set critic.clip.future=false"
            )

    def critic(self, world: ImaginationConfig) -> WVMConfig:
        """What the critic is as one: its frames are those of the world's steps.

        Raises:
            UserError: the two do not fit each other.
        """
        rate = world.control_rate / world.stride
        if self.clip.fps not in (ClipConfig.fps, rate):
            raise UserError(
                f"critic.clip.fps={self.clip.fps:g}: the critic sees the world's frames, {rate:g} a second"
            )
        return WVMConfig(
            cameras=world.cameras,
            data_fps=world.control_rate,
            tokenizer=world.tokenizer,
            video=world.video,
            value=self.value,
            clip=dataclasses.replace(self.clip, fps=rate),
            optim=dataclasses.replace(world.optim, batch=self.batch),
            inference=self.inference,
        )


def has_critic(folder: Path) -> bool:
    """Whether there is a critic in a world model's folder."""
    return (folder / CRITIC).is_file()


def require_critic(folder: Path) -> None:
    """Refuse a world model without a critic.

    Raises:
        UserError: it is one.
    """
    if not has_critic(folder):
        raise UserError(
            f"the world model in {folder} has no critic; train it with one: python -m experiments.train_world_model "
            "critic.joint=true"
        )
