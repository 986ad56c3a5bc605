"""The choices of `policy=`: where a policy's first weights come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import policy_extraction
from envs.contract import EnvSpec
from envs.errors import UserError
from experiments.lab.artifacts import digest, file_digest
from experiments.settings.plugins import resolve, source_digest
from policy_extraction.types import Policy, PolicySpec, Training
from policy_extraction.vla.encoder import VLAConfig

BASE_VLA = Path(policy_extraction.__file__).parent / "vla" / "base"
KITCHEN_VLA, KITCHEN = BASE_VLA.parent / "kitchen", "kitchen"  # of the kitchen's tasks: policy.base=kitchen


class PolicyChoice(Protocol):
    """A choice of `policy=`."""

    pretrained: bool
    trainable: bool
    normalises: bool  # whether it has statistics of its own for the numbers that it reads and gives
    bounded: bool  # whether the actions that it learns have to be in [-1, 1]

    def shape(self, env: EnvSpec) -> PolicySpec:
        """What the policy reads and gives, without building it; `env` is where it will act."""
        ...

    def make(self, env: EnvSpec, training: Training, seed: int) -> Policy:
        """The policy at the start of its training."""
        ...

    def origin(self, env: EnvSpec) -> str:
        """A digest of all that `make` depends on beside training and seed."""
        ...


@dataclass(frozen=True)
class PolicyShape:
    """What a policy that starts from nothing reads and gives; what is not set is read off the environment."""

    cameras: tuple[str, ...] | None = None
    image_size: int | None = None  # pixels, square
    proprio_dim: int | None = None
    action_dim: int | None = None
    action_horizon: int = 10

    def of(self, env: EnvSpec) -> PolicySpec:
        """The whole of it."""
        cameras = tuple(env.cameras) if self.cameras is None else self.cameras
        sizes = [env.cameras[name][0] for name in cameras if name in env.cameras]
        size = (
            (sizes[0] if sizes else PolicySpec().image_size) if self.image_size is None else self.image_size
        )
        return PolicySpec(
            cameras=cameras,
            image_size=size,
            proprio_dim=env.proprio_dim if self.proprio_dim is None else self.proprio_dim,
            action_dim=env.action_dim if self.action_dim is None else self.action_dim,
            action_horizon=self.action_horizon,
        )


@dataclass(frozen=True)
class VLAChoice:
    """The built-in VLA, pretrained: the one that ships with the project, or another folder's."""

    head: str = "flow"  # or "token", with an exact likelihood
    base: str = ""  # a folder that `pretrain_vla` wrote; empty: the shipped one, "kitchen": that of the kitchen's tasks
    train_encoder: bool = False  # from pictures; slower. Else its frozen features are computed once

    pretrained = True
    trainable = True
    normalises = True
    bounded = True

    def __post_init__(self) -> None:
        if self.head not in ("flow", "token"):
            raise UserError(f"policy.head={self.head} must be flow or token")

    def shape(self, env: EnvSpec) -> PolicySpec:
        """See `PolicyChoice`; it is what it was pretrained for."""
        from policy_extraction.vla.model import load_config

        return load_config(self._folder()).spec

    def make(self, env: EnvSpec, training: Training, seed: int) -> Policy:
        """See `PolicyChoice`."""
        from policy_extraction.vla.model import load_vla, vla_policy

        return vla_policy(load_vla(self._folder()), self.head, self.train_encoder, training, seed)

    def origin(self, env: EnvSpec) -> str:
        """See `PolicyChoice`."""
        files = [file_digest(self._folder() / name) for name in ("config.json", "model.safetensors")]
        return digest(["vla", self.head, self.train_encoder, *files])

    def _folder(self) -> Path:
        folder = {"": BASE_VLA, KITCHEN: KITCHEN_VLA}.get(self.base) or Path(self.base)
        if not (folder / "config.json").is_file():
            raise UserError(
                f"no base VLA in {folder}; make one: python -m experiments.pretrain_vla folder={folder}"
            )
        return folder


@dataclass(frozen=True)
class ScratchVLA:
    """The built-in VLA with random weights, trained from pictures, encoder included.

    The noise of a whole chunk passes through its head's width: left as it is, that grows to twice a chunk's numbers (two
    arms with hands, 34 numbers an action: at a width of 256 the error of an action is twice that at 768).
    """

    head: str = "flow"
    spec: PolicyShape = field(default_factory=PolicyShape)
    config: VLAConfig = field(default_factory=VLAConfig)

    pretrained = False
    trainable = True
    normalises = False
    bounded = True

    def __post_init__(self) -> None:
        if self.config.spec != PolicySpec():
            raise UserError("set what the policy reads and gives by policy.spec.…, not policy.config.spec.…")

    def shape(self, env: EnvSpec) -> PolicySpec:
        """See `PolicyChoice`."""
        return self.spec.of(env)

    def make(self, env: EnvSpec, training: Training, seed: int) -> Policy:
        """See `PolicyChoice`."""
        from policy_extraction.vla.model import new_vla, vla_policy

        return vla_policy(new_vla(self._config(env), seed), self.head, True, training, seed)

    def origin(self, env: EnvSpec) -> str:
        """See `PolicyChoice`."""
        return digest(["scratch", self.head, self._config(env)])

    def _config(self, env: EnvSpec) -> VLAConfig:
        spec, width = self.shape(env), self.config.width
        if width == VLAConfig.width:
            width = max(width, -(-2 * spec.action_horizon * spec.action_dim // 64) * 64)
        return replace(self.config, spec=spec, width=width)


@dataclass(frozen=True)
class PluginPolicy:
    """A flax NNX or torch module class from anywhere: `policy=package.module:Class`."""

    module: str = ""
    spec: PolicyShape = field(default_factory=PolicyShape)

    pretrained = False
    trainable = True
    normalises = False
    bounded = True

    def shape(self, env: EnvSpec) -> PolicySpec:
        """See `PolicyChoice`."""
        return self.spec.of(env)

    def make(self, env: EnvSpec, training: Training, seed: int) -> Policy:
        """See `PolicyChoice`."""
        from policy_extraction.adapters.make import make_policy

        return make_policy(self._class(), self.shape(env), training, seed)

    def origin(self, env: EnvSpec) -> str:
        """See `PolicyChoice`; the user's file counts."""
        return digest([self.module, source_digest(self._class()), self.shape(env)])

    def _class(self) -> Any:
        return resolve(self.module)
