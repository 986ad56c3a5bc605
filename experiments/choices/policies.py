"""The choices of `policy=`: where a policy's first weights come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import policy_extraction
from envs.errors import UserError
from experiments.lab.artifacts import digest, file_digest
from experiments.settings.plugins import resolve, source_digest
from policy_extraction.types import Policy, PolicySpec, Training
from policy_extraction.vla.encoder import VLAConfig

BASE_VLA = Path(policy_extraction.__file__).parent / "vla" / "base"


class PolicyChoice(Protocol):
    """A choice of `policy=`."""

    pretrained: bool

    def shape(self) -> PolicySpec:
        """What the policy reads and gives, without building it."""
        ...

    def make(self, training: Training, seed: int) -> Policy:
        """The policy at the start of its training."""
        ...

    def origin(self) -> str:
        """A digest of all that `make` depends on beside its arguments."""
        ...


@dataclass(frozen=True)
class VLAChoice:
    """The built-in VLA, pretrained: the one that ships with the project, or another folder's."""

    head: str = "flow"  # or "token", with an exact likelihood
    base: str = ""  # a folder that `pretrain_vla` wrote; empty: the shipped one
    train_encoder: bool = False  # from pictures; slower. Else its frozen features are computed once

    pretrained = True

    def __post_init__(self) -> None:
        if self.head not in ("flow", "token"):
            raise UserError(f"policy.head={self.head} must be flow or token")

    def shape(self) -> PolicySpec:
        from policy_extraction.vla.model import load_config

        return load_config(self._folder()).spec

    def make(self, training: Training, seed: int) -> Policy:
        from policy_extraction.vla.model import load_vla, vla_policy

        return vla_policy(load_vla(self._folder()), self.head, self.train_encoder, training, seed)

    def origin(self) -> str:
        files = [file_digest(self._folder() / name) for name in ("config.json", "model.safetensors")]
        return digest(["vla", self.head, self.train_encoder, *files])

    def _folder(self) -> Path:
        folder = Path(self.base) if self.base else BASE_VLA
        if not (folder / "config.json").is_file():
            raise UserError(
                f"no base VLA in {folder}; make one: python -m experiments.pretrain_vla folder={folder}"
            )
        return folder


@dataclass(frozen=True)
class ScratchVLA:
    """The built-in VLA with random weights, trained from pictures, encoder included."""

    head: str = "flow"
    config: VLAConfig = field(default_factory=VLAConfig)

    pretrained = False

    def shape(self) -> PolicySpec:
        return self.config.spec

    def make(self, training: Training, seed: int) -> Policy:
        from policy_extraction.vla.model import new_vla, vla_policy

        return vla_policy(new_vla(self.config, seed), self.head, True, training, seed)

    def origin(self) -> str:
        return digest(["scratch", self.head, self.config])


@dataclass(frozen=True)
class PluginPolicy:
    """A flax NNX or torch module class from anywhere: `policy=package.module:Class`."""

    module: str = ""
    spec: PolicySpec = field(default_factory=PolicySpec)

    pretrained = False

    def shape(self) -> PolicySpec:
        return self.spec

    def make(self, training: Training, seed: int) -> Policy:
        from policy_extraction.adapters.make import make_policy

        return make_policy(self._class(), self.spec, training, seed)

    def origin(self) -> str:
        return digest([self.module, source_digest(self._class()), self.spec])

    def _class(self) -> Any:
        return resolve(self.module)
