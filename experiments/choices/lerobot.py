"""The choice `policy=lerobot`: a policy of LeRobot 0.6, from a checkpoint or from scratch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envs.contract import EnvSpec
from envs.errors import UserError
from experiments.choices.policies import PolicyShape
from experiments.lab.artifacts import digest, file_digest
from experiments.settings.config import require
from policy_extraction.adapters.lerobot_policy import (
    checkpoint_config,
    load_policy,
    new_config,
    read_statistics,
    require_lerobot,
    spec_of,
)
from policy_extraction.types import Policy, PolicySpec, Training


@dataclass(frozen=True)
class LeRobotChoice:
    """Which policy. From scratch, its numbers are normalised by the statistics of the data that it is trained on."""

    type: str = ""  # act, diffusion, smolvla, pi05, …; empty: the checkpoint's
    path: str = ""  # the folder of a checkpoint; empty: from scratch
    data: str = ""  # from scratch: the folder of the LeRobot data set whose statistics normalise
    config: dict[str, Any] = field(
        default_factory=dict
    )  # from scratch: settings of LeRobot's own configuration
    cameras: dict[str, str] = field(default_factory=dict)  # {camera here: the checkpoint's name of it}
    spec: PolicyShape = field(default_factory=PolicyShape)  # from scratch: what it reads and gives

    trainable = True
    normalises = True
    bounded = False

    def __post_init__(self) -> None:
        require(
            bool(self.type or self.path), "policy=lerobot needs policy.path=/a/checkpoint or policy.type=act"
        )
        require(
            bool(self.path) != bool(self.data),
            "policy=lerobot needs policy.path=/a/checkpoint or, from scratch, policy.data=/a/LeRobot/data/set",
        )
        require(
            not (self.path and self.config),
            "policy.config is for a policy from scratch; a checkpoint has its own",
        )

    @property
    def pretrained(self) -> bool:
        """See `PolicyChoice`."""
        return bool(self.path)

    def shape(self, env: EnvSpec) -> PolicySpec:
        """See `PolicyChoice`."""
        return spec_of(self._config(env), self.cameras)

    def make(self, env: EnvSpec, training: Training, seed: int) -> Policy:
        """See `PolicyChoice`."""
        path = Path(self.path) if self.path else None
        statistics = None if path else read_statistics(Path(self.data))
        return load_policy(self._config(env), path, statistics, self.cameras, training, seed)

    def origin(self, env: EnvSpec) -> str:
        """See `PolicyChoice`."""
        source = Path(self.path) if self.path else Path(self.data) / "meta" / "stats.json"
        return digest(["lerobot", self.type, self.config, self.cameras, self.shape(env), file_digest(source)])

    def _config(self, env: EnvSpec) -> Any:
        require_lerobot()
        if not self.path:
            read_statistics(Path(self.data))
            return new_config(self.type, self.spec.of(env), self.config)
        config = checkpoint_config(Path(self.path))
        if self.type and config.type != self.type:
            raise UserError(f"the checkpoint in {self.path} is of type {config.type}, not {self.type}")
        return config
