"""Policies of LeRobot 0.6, from a checkpoint or from scratch, fine-tuned and saved as LeRobot checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError, check_choice
from envs.types import Observation
from policy_extraction.types import PLAIN, Batch, Method, PolicySpec, Sampling, Training

CHECKPOINT = "lerobot"  # in the folder of `Policy.save`: the policy that acts, as LeRobot writes it
PREFIX = "observation.images."


class LeRobotPolicy:
    """A `Policy`: the torch adapter around a policy of LeRobot's, whose `save` writes LeRobot's checkpoint too.

    Args:
        adapter: a TorchPolicy around a LeRobotModule.
    """

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter
        self.spec: PolicySpec = adapter.spec

    @property
    def processes(self) -> int:
        """See `SharedTraining`."""
        return self.adapter.processes

    def act(self, observation: Observation, seeds: np.ndarray, sampling: Sampling = PLAIN) -> np.ndarray:
        """See `Policy`."""
        return self.adapter.act(observation, seeds, sampling)

    def preprocess(self, observation: Observation, sampling: Sampling = PLAIN) -> dict[str, np.ndarray]:
        """See `Policy`."""
        return self.adapter.preprocess(observation, sampling)

    def update(self, batches: Batch, method: Method) -> dict[str, float]:
        """See `Policy`."""
        return self.adapter.update(batches, method)

    def log_prob(self, batch: Batch) -> np.ndarray:
        """See `Policy`."""
        return self.adapter.log_prob(batch)

    def save(self, folder: Path) -> None:
        """See `Policy`; and LeRobot's checkpoint of the averaged weights in `folder`/lerobot."""
        self.adapter.save(folder)
        if self.adapter.writes:
            self.adapter.module.export(folder / CHECKPOINT)

    def restore(self, folder: Path) -> None:
        """See `Policy`."""
        self.adapter.restore(folder)


def require_lerobot() -> None:
    """See that LeRobot is there.

    Raises:
        UserError: it is not.
    """
    try:
        import lerobot  # noqa: F401
    except ImportError as error:
        raise UserError(
            "policy=lerobot needs LeRobot 0.6 and Python 3.12 or newer, best in an environment of its own: "
            "pip install 'policy-extraction[lerobot]'"
        ) from error


def checkpoint_config(folder: Path) -> Any:
    """The configuration of a checkpoint.

    Raises:
        UserError: there is none, or of an unknown type.
    """
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies import factory  # noqa: F401  (registers the types)

    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise UserError(
            f"no LeRobot checkpoint in {folder}: config.json and model.safetensors; mend policy.path"
        )
    try:
        return PreTrainedConfig.from_pretrained(folder, local_files_only=True)
    except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"{folder}/config.json is of no policy of this LeRobot: {_line(error)}") from error


def new_config(kind: str, shape: PolicySpec, settings: Mapping[str, Any]) -> Any:
    """The configuration of a policy from scratch that reads and gives `shape`.

    Raises:
        UserError: an unknown type, or settings that it has not or refuses.
    """
    from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig
    from lerobot.policies.factory import make_policy_config
    from lerobot.utils.device_utils import auto_select_torch_device

    check_choice("policy.type", kind, PreTrainedConfig.get_known_choices())
    size = shape.image_size
    inputs = {f"{PREFIX}{name}": PolicyFeature(FeatureType.VISUAL, (3, size, size)) for name in shape.cameras}
    inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (shape.proprio_dim,))
    length = (
        {"horizon": shape.action_horizon} if kind == "diffusion" else {"chunk_size": shape.action_horizon}
    )
    given = {
        "device": auto_select_torch_device().type,
        "n_action_steps": shape.action_horizon,
        "n_obs_steps": 1,
        "push_to_hub": False,
        **length,
        **settings,
    }
    try:
        return make_policy_config(
            kind,
            input_features=inputs,
            output_features={"action": PolicyFeature(FeatureType.ACTION, (shape.action_dim,))},
            **given,
        )
    except (TypeError, ValueError, NotImplementedError) as error:
        raise UserError(f"policy.config does not fit {kind}: {_line(error)}") from error


def spec_of(config: Any, cameras: Mapping[str, str]) -> PolicySpec:
    """What a policy of this configuration reads and gives.

    Args:
        cameras: {camera: the checkpoint's name of it}, where they differ.

    Raises:
        UserError: it reads several moments, no state, or pictures that are not square and of one size.
    """
    if config.n_obs_steps != 1:
        raise UserError(
            f"the checkpoint reads {config.n_obs_steps} moments at once; only n_obs_steps=1 is supported"
        )
    if config.robot_state_feature is None or config.action_feature is None:
        raise UserError(
            "the checkpoint reads no observation.state, or gives no action; choose another policy.path"
        )
    sizes = {tuple(feature.shape[1:]) for feature in config.image_features.values()}
    if len(sizes) > 1 or any(height != width for height, width in sizes):
        raise UserError(
            f"the checkpoint reads pictures of {sorted(sizes)}; they must be square and of one size"
        )
    return PolicySpec(
        cameras=tuple(picture_names(config, cameras)),
        image_size=next(iter(sizes))[0] if sizes else PolicySpec.image_size,
        proprio_dim=config.robot_state_feature.shape[0],
        action_dim=config.action_feature.shape[0],
        action_horizon=config.horizon if config.type == "diffusion" else config.chunk_size,
    )


def picture_names(config: Any, cameras: Mapping[str, str]) -> dict[str, str]:
    """{camera: the feature of the policy's that it is}."""
    back: dict[str, str] = {theirs: ours for ours, theirs in cameras.items()}
    short: dict[str, str] = {name.removeprefix(PREFIX): name for name in config.image_features}
    unknown = sorted(set(back) - set(short))
    if unknown:
        raise UserError(
            f"policy.cameras: the checkpoint has no camera {unknown[0]!r}; it has {', '.join(short)}"
        )
    return {back.get(name, name): feature for name, feature in short.items()}


def read_statistics(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """The statistics of a LeRobot data set, by which a policy from scratch normalises.

    Raises:
        UserError: there are none.
    """
    file = folder / "meta" / "stats.json"
    if not file.is_file():
        raise UserError(f"{folder} is no LeRobot data set: meta/stats.json is missing; mend policy.data")
    content = json.loads(file.read_text())
    return {
        feature: {name: np.asarray(value, np.float32) for name, value in of.items()}
        for feature, of in content.items()
    }


def load_policy(
    config: Any, path: Path | None, statistics: Any, cameras: Mapping[str, str], training: Training, seed: int
) -> LeRobotPolicy:
    """The policy, at the start of its training.

    Args:
        path: of its checkpoint; None: from scratch, normalised by `statistics`.

    Raises:
        UserError: it cannot be made, or has no loss per sample.
    """
    import torch
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    from policy_extraction.adapters.lerobot_module import LeRobotModule, LeRobotParts
    from policy_extraction.adapters.torch_policy import TorchPolicy

    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            kind = get_policy_class(config.type)
            policy = kind.from_pretrained(path, config=config) if path else kind(config).to(config.device)
            processors = make_pre_post_processors(
                config, str(path) if path else None, dataset_stats=None if path else _tensors(statistics)
            )
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        raise UserError(f"policy.type={config.type} cannot be made: {_line(error)}") from error
    spec = spec_of(config, cameras)
    before, after = processors
    parts = LeRobotParts(policy, before, after, picture_names(config, cameras))
    module = LeRobotModule(parts, spec)
    return LeRobotPolicy(TorchPolicy(module, spec, training, seed, module.preprocess))


def _tensors(statistics: Any) -> Any:
    import torch

    return {
        feature: {name: torch.from_numpy(value) for name, value in of.items()}
        for feature, of in statistics.items()
    }


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
