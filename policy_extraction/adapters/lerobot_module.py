"""A policy of LeRobot 0.6 as a torch module that the torch adapter trains: `log_prob` is minus its loss, a number a sample.

What it reads goes through the checkpoint's own processors, so that texts reach its tokenizer and numbers are normalised as
it was trained. Differences from LeRobot's own training: past an episode's end the last action, repeated, counts (nothing
here marks it as padding); statistics of batch normalisation stay as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.errors import UserError
from envs.files import atomic_folder
from envs.types import Observation
from policy_extraction.adapters.inputs import check_observation
from policy_extraction.types import PolicySpec

TEXT_BYTES = 512  # of an instruction
IMAGES = "observation.images"
STATE = "observation.state"


@dataclass(frozen=True)
class LeRobotParts:
    """A policy of LeRobot's and its processors. pictures: {camera: the policy's name of it, observation.images.…}."""

    policy: Any
    preprocessor: Any
    postprocessor: Any
    pictures: Mapping[str, str]


class LeRobotModule(torch.nn.Module):
    """See `policy_extraction.adapters.torch_policy`.

    Raises:
        UserError: this type of policy has no loss per sample.
    """

    def __init__(self, parts: LeRobotParts, spec: PolicySpec) -> None:
        super().__init__()
        self.policy = parts.policy
        self.spec, self._pictures = spec, dict(parts.pictures)
        self._preprocessor, self._postprocessor = parts.preprocessor, parts.postprocessor
        sample_losses(parts.policy)

    def preprocess(self, observation: Observation) -> dict[str, np.ndarray]:
        """{"images.<camera>": uint8 [B, H, W, 3], "proprio": float32 [B, P], "text": uint8 [B, TEXT_BYTES]}."""
        check_observation(observation, self.spec)
        images = {f"images.{camera}": observation.images[camera] for camera in self.spec.cameras}
        text = np.stack([_encoded(instruction) for instruction in observation.instruction])
        return images | {"proprio": observation.proprio.astype(np.float32), "text": text}

    def log_prob(
        self, observation: Mapping[str, torch.Tensor], action: torch.Tensor, key: torch.Generator
    ) -> torch.Tensor:
        """Minus the loss of each sample [B], with noise and dropout from `key`."""
        batch = self._read(observation) | {"action": action}
        batch["action_is_pad"] = torch.zeros(action.shape[:2], dtype=torch.bool, device=action.device)
        with _Drawing(key):
            return -sample_losses(self.policy)(self._preprocessor(batch))

    def sample(self, observation: Mapping[str, torch.Tensor], key: torch.Generator) -> torch.Tensor:
        """Action chunks [B, H, A]."""
        batch = self._preprocessor(self._read(observation))
        with _Drawing(key):
            chunk = self._chunk(batch)
        return self._postprocessor(chunk)[:, : self.spec.action_horizon]

    def train(self, mode: bool = True) -> LeRobotModule:
        """As torch's, but that batch normalisation keeps its statistics."""
        super().train(mode)
        for part in self.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.eval()
        return self

    def export(self, folder: Path) -> None:
        """Write the policy and its processors as a checkpoint that LeRobot loads, whole or not at all."""
        with atomic_folder(folder) as temporary:
            for part in (self.policy, self._preprocessor, self._postprocessor):
                part.save_pretrained(temporary)

    def _chunk(self, batch: dict[str, Any]) -> torch.Tensor:
        if (
            self.policy.config.type == "diffusion"
        ):  # all of the horizon; its own method gives the executed part
            model = self.policy.diffusion
            return model.conditional_sample(
                len(batch[STATE]),
                global_cond=model._prepare_global_conditioning(_one_step(self.policy, batch)),
            )
        self.policy.reset()
        return self.policy.predict_action_chunk(batch)

    def _read(self, observation: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """What LeRobot's data loader gives: pictures float [B, 3, H, W] in 0..1, and the task as texts."""
        pictures = {
            name: observation[f"images.{camera}"].permute(0, 3, 1, 2).float() / 255
            for camera, name in self._pictures.items()
        }
        texts = [_decoded(row) for row in observation["text"].cpu().numpy()]
        return {**pictures, STATE: observation["proprio"], "task": texts}


def sample_losses(policy: Any) -> Callable[[dict[str, Any]], torch.Tensor]:
    """What gives a policy's loss for each sample of a processed batch: [B].

    Raises:
        UserError: its type has none.
    """
    kind = policy.config.type
    if kind in OWN_LOSSES:
        return lambda batch: OWN_LOSSES[kind](policy, batch)
    if "reduction" in inspect.signature(policy.forward).parameters:
        return lambda batch: policy.forward(batch, reduction="none")[0]
    raise UserError(
        f"policy.type={kind} gives no loss for each sample, which weighing samples needs; use one of "
        f"{', '.join(sorted(OWN_LOSSES))}, or one whose forward takes reduction, such as smolvla, pi0 or pi05"
    )


def act_losses(policy: Any, batch: dict[str, Any]) -> torch.Tensor:
    """ACT's: |a − â| over the unpadded actions, and the latent's Kullback-Leibler divergence. Its mean is `forward`'s."""
    pictures = [batch[name] for name in policy.config.image_features]
    seen = {**batch, IMAGES: pictures} if pictures else batch
    predicted, (mean, log_variance) = policy.model(seen)
    loss = _unpadded_mean((batch["action"] - predicted).abs(), batch["action_is_pad"])
    if policy.config.use_vae and log_variance is not None:
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(-1)
        loss = loss + policy.config.kl_weight * divergence
    return loss


def diffusion_losses(policy: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Diffusion Policy's: the squared error of the denoiser at one random step. Its mean is `forward`'s."""
    model, action = policy.diffusion, batch["action"]
    condition = model._prepare_global_conditioning(_one_step(policy, batch))
    noise = torch.randn(action.shape, device=action.device)
    steps = model.noise_scheduler.config.num_train_timesteps
    step = torch.randint(0, steps, (len(action),), device=action.device).long()
    noisy = model.noise_scheduler.add_noise(action, noise, step)
    predicted = model.unet(noisy, step, global_cond=condition)
    target = noise if policy.config.prediction_type == "epsilon" else action
    error = (predicted - target) ** 2
    if policy.config.do_mask_loss_for_padding:
        return _unpadded_mean(error, batch["action_is_pad"])
    return error.mean(dim=(1, 2))


OWN_LOSSES: Mapping[str, Callable[[Any, dict[str, Any]], torch.Tensor]] = {
    "act": act_losses,
    "diffusion": diffusion_losses,
}


def _unpadded_mean(error: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
    """Mean of [B, H, A] over the actions that are not padded: [B]."""
    known = (~padded).to(error.dtype)
    return (error.mean(dim=2) * known).sum(dim=1) / known.sum(dim=1).clamp_min(1)


def _one_step(policy: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """A batch of single moments as Diffusion Policy reads it: observations [B, 1, …], cameras in one array."""
    seen = {**batch, STATE: batch[STATE][:, None]}
    pictures = [batch[name][:, None] for name in policy.config.image_features]
    return {**seen, IMAGES: torch.stack(pictures, dim=-4)} if pictures else seen


class _Drawing:
    """A context in which torch draws from a key, and after which its own state is as before."""

    def __init__(self, key: torch.Generator) -> None:
        self._fork = torch.random.fork_rng([] if key.device.type == "cpu" else [key.device])
        self._key = key

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(int(torch.randint(2**62, (), generator=self._key, device=self._key.device)))

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)


def _encoded(text: str) -> np.ndarray:
    """A text as uint8 [TEXT_BYTES], zeros after its end."""
    data = text.encode()
    if len(data) > TEXT_BYTES or b"\0" in data:
        raise UserError(
            f"an instruction has more than {TEXT_BYTES} bytes: {text[:60]!r}…; say it in fewer words"
        )
    return np.frombuffer(data.ljust(TEXT_BYTES, b"\0"), np.uint8)


def _decoded(row: np.ndarray) -> str:
    return row.tobytes().rstrip(b"\0").decode()
