"""Pretraining of the small VLA: everything is cloned at once, and the simulator tells where the objects
are.

loss = flow matching + mean token cross-entropy + λ · mean squared error of the simulator's state, all
parameters, on pictures shifted at random. From pictures the encoder is the bottleneck, and the state is
what teaches it to see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.errors import UserError
from envs.types import Episode
from policy_extraction.adapters.inputs import check_observation, words_of
from policy_extraction.adapters.jax_policy import JaxPolicy
from policy_extraction.dataset import action_chunks, batch_rows
from policy_extraction.methods.bc import BC
from policy_extraction.types import STATE_FILE, PolicySpec, Training
from policy_extraction.vla.encoder import VLAConfig
from policy_extraction.vla.model import VLA, new_vla, random_shift

DISPATCH = 8  # updates in one call of the device


@dataclass(frozen=True)
class PretrainingSet:
    """N frames: observation arrays as `inputs.raw_inputs` names them, with "state" float32 [N, S]; chunks
    [N, H, A].

    Arrays may be np.memmap.
    """

    observation: Mapping[str, np.ndarray]
    action: np.ndarray

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True)
class Pretraining:
    """How the base VLA is trained; batch is the number of frames in an update."""

    training: Training
    batch: int = 128
    state_weight: float = 5.0  # λ
    shift: int = 3  # pixels


def gather_frames(
    episodes: Iterable[Episode],
    spec: PolicySpec,
    paraphrases: Mapping[str, tuple[str, ...]],
    seed: int,
    visible: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> PretrainingSet:
    """All frames of episodes, each under a random paraphrase of its instruction.

    Args:
        episodes: read once; their environment_state must not be empty.
        paraphrases: {instruction: other ways to say it}.
        visible: what the encoder should see of an episode's environment_state: [T, D] -> [T, state_dim].
    """
    rng = np.random.default_rng(seed)
    columns: dict[str, list[np.ndarray]] = {}
    for episode in episodes:
        if not episode.environment_state.shape[1]:
            raise UserError(
                "pretraining needs observation.environment_state (object positions); this data set has none"
            )
        check_observation(episode.observations, spec)
        says = (episode.instruction, *paraphrases.get(episode.instruction, ()))
        chosen = [says[index] for index in rng.integers(len(says), size=len(episode))]
        row = {f"images.{camera}": episode.images[camera] for camera in spec.cameras} | {
            "proprio": episode.proprio.astype(np.float32),
            "words": words_of(chosen, spec),
            "state": visible(episode.environment_state).astype(np.float32),
            "action": action_chunks(episode.actions.astype(np.float32), spec.action_horizon),
        }
        for name, array in row.items():
            columns.setdefault(name, []).append(array)
    if not columns:
        raise UserError("there is no episode to pretrain on; collect some first")
    joined = {name: np.concatenate(columns.pop(name)) for name in list(columns)}
    return PretrainingSet(action=joined.pop("action"), observation=joined)


class JointLoss(nnx.Module):
    """Minus the loss of pretraining, as the log_prob of a module for `JaxPolicy`."""

    def __init__(self, vla: VLA, state_weight: float, shift: int) -> None:
        self.vla = vla
        self.state_weight = state_weight
        self.shift = shift

    def log_prob(self, observation: Mapping[str, Any], action: Any, key: Any) -> Any:
        shift_key, flow_key = jax.random.split(key)
        encoder = self.vla.encoder
        heads: Any = self.vla.heads
        features = encoder(random_shift(observation, shift_key, self.shift))
        seen = {"features": features, "words": observation["words"]}
        predicted = features[:, -self.vla.config.state_dim :]
        error = jnp.mean(jnp.square(predicted - encoder.state(observation["state"])), axis=1)
        tokens = jnp.mean(heads["token"].log_prob(seen, action), axis=1)
        return heads["flow"].log_prob(seen, action, flow_key) + tokens - self.state_weight * error


def pretrain(
    data: PretrainingSet,
    config: VLAConfig,
    pretraining: Pretraining,
    *,
    seed: int = 0,
    folder: Path | None = None,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> VLA:
    """A VLA with the averaged weights of `pretraining.training.updates` updates.

    Args:
        folder: where to keep the training's state, and to take it up again after an interruption, to the
        same end. progress: called with the number of updates made and the metrics of the latest.
    """
    vla = new_vla(config, seed)
    _fit(vla.encoder.proprio, data.observation["proprio"])
    vla.encoder.state.mean[...] = jnp.asarray(data.observation["state"].mean(0))
    joint = JointLoss(vla, pretraining.state_weight, pretraining.shift)
    policy = JaxPolicy(joint, config.spec, pretraining.training, seed)
    if folder is not None and (folder / STATE_FILE).is_file():
        policy.restore(folder)
    total = pretraining.training.updates
    while policy.step < total:
        count = min(DISPATCH, total - policy.step)
        metrics = policy.update(_batches(data, policy.step, count, pretraining.batch, seed), BC())
        if folder is not None and (policy.step % (50 * DISPATCH) == 0 or policy.step == total):
            policy.save(folder)
        if progress is not None:
            progress(policy.step, metrics)
    trained: Any = policy.module
    return trained.vla


def _fit(normalizer: Any, values: np.ndarray) -> None:
    """Take the constants from data; a number that never changes keeps its scale."""
    std = values.std(0)
    normalizer.mean[...] = jnp.asarray(values.mean(0))
    normalizer.std[...] = jnp.asarray(np.where(std < 1e-4, 1.0, std))


def _batches(data: PretrainingSet, first: int, updates: int, batch: int, seed: int) -> dict[str, Any]:
    numbers = range(first, first + updates)
    rows = np.stack([batch_rows(len(data), batch, number, seed) for number in numbers])
    observation = {name: array[rows] for name, array in data.observation.items()}
    return {"observation": observation, "action": data.action[rows]}
