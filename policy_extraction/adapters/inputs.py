"""What a policy's module reads, made from an observation: the same for acting and for training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import numpy as np

from envs.errors import UserError
from envs.text import word_ids
from envs.types import Observation
from policy_extraction.types import PolicySpec, Sampling

Preprocess = Callable[[Observation], dict[str, np.ndarray]]


def words_of(instructions: Sequence[str], spec: PolicySpec) -> np.ndarray:
    """Word ids int32 [B, max_words]."""
    known = {text: word_ids(text, spec.max_words, spec.word_buckets) for text in set(instructions)}
    return np.stack([known[text] for text in instructions])


def check_observation(observation: Observation, spec: PolicySpec) -> None:
    """Raises UserError if the observation is not what the policy was made for."""
    missing = [camera for camera in spec.cameras if camera not in observation.images]
    if missing:
        raise UserError(
            f"the policy looks through {list(spec.cameras)}, but the observation has no camera "
            f"{missing[0]!r}; it has {sorted(observation.images)}"
        )
    size = spec.image_size
    for camera in spec.cameras:
        shape = observation.images[camera].shape
        if shape[1:] != (size, size, 3):
            raise UserError(
                f"images of {camera!r} have shape {shape[1:]}, the policy reads {(size, size, 3)}"
            )
    check_proprio(observation, spec)


def check_proprio(observation: Observation, spec: PolicySpec) -> None:
    """Raises UserError if the proprioception is not what the policy was made for."""
    if observation.proprio.shape[1:] != (spec.proprio_dim,):
        raise UserError(
            f"proprio has {observation.proprio.shape[1:]} numbers, the policy reads {spec.proprio_dim}"
        )


def told_inputs(observation: Observation, spec: PolicySpec) -> dict[str, np.ndarray]:
    """All but what is seen: {"proprio": float32 [B, P], "words": int32 [B, max_words]}."""
    check_proprio(observation, spec)
    words = words_of(observation.instruction, spec)
    return {"proprio": observation.proprio.astype(np.float32), "words": words}


def raw_inputs(observation: Observation, spec: PolicySpec) -> dict[str, np.ndarray]:
    """{"images.<camera>": uint8 [B, H, W, 3], "proprio": float32 [B, P], "words": int32 [B, max_words]}."""
    check_observation(observation, spec)
    images = {f"images.{camera}": observation.images[camera] for camera in spec.cameras}
    return images | told_inputs(observation, spec)


def sampling_inputs(
    sampling: Sampling, options: Sequence[str], count: int, spec: PolicySpec
) -> dict[str, np.ndarray]:
    """More inputs, only where `sampling` is not the default: "temperature" [B]; "guidance" [B] and
    "reference_words".

    Args:
        options: what the policy's module honours.

    Raises:
        UserError: the module does not honour what is asked for.
    """
    extra = {}
    if sampling.temperature != 1.0:
        _require("temperature", options)
        extra["temperature"] = np.full(count, sampling.temperature, np.float32)
    if sampling.guidance != 1.0:
        _require("guidance", options)
        extra["guidance"] = np.full(count, sampling.guidance, np.float32)
        extra["reference_words"] = words_of(sampling.reference, spec)
    return extra


def takes_key(module: type) -> bool:
    """Whether `log_prob(observation, action, key)` of a module's class draws noise."""
    return len(inspect.signature(module.log_prob).parameters.keys() - {"executed"}) > 3


def takes_executed(module: type) -> bool:
    """Whether `log_prob` of a module's class is told which actions of a chunk were executed: float [B, H], 1 or 0."""
    return "executed" in inspect.signature(module.log_prob).parameters


def check_log_prob(shape: tuple[int, ...], count: int) -> None:
    """Raises UserError unless a module's log_prob has one number, or one row of numbers, a sample."""
    if len(shape) not in (1, 2) or shape[0] != count:
        raise UserError(
            f"log_prob gave shape {tuple(shape)} for {count} samples; it must give one number a sample, "
            f"({count},), or one a token, ({count}, K): do not average over the batch"
        )


def check_tokens(shape: tuple[int, ...], executed: tuple[int, ...], module: type) -> None:
    """Raises UserError unless a module's log_prob, of this shape, can be had of the executed actions alone.

    Args:
        executed: shape [B, H] of what says which actions of the chunks were executed.
    """
    if len(shape) == 1 and not takes_executed(module):
        raise UserError(
            f"{module.__name__}.log_prob gives one number a chunk, but of a rollout's chunks only some actions are "
            "executed; give one for every action, (B, H), or take a further argument executed=None, [B, H] of 1 and 0"
        )
    if len(shape) == 2 and shape[1] % executed[1]:
        raise UserError(
            f"{module.__name__}.log_prob gives {shape[1]} tokens for {executed[1]} actions, so that those of executed "
            "actions cannot be told; give every action the same number, in order"
        )


def check_chunks(shape: tuple[int, ...], count: int, spec: PolicySpec) -> None:
    """Raises UserError unless a module's sample is one action chunk a row."""
    wanted = (count, spec.action_horizon, spec.action_dim)
    if tuple(shape) != wanted:
        raise UserError(
            f"sample gave shape {tuple(shape)}; it must be {wanted}: rows, action horizon, action"
        )


def not_finite(update: int, last: int) -> UserError:
    """The error that ends a training whose loss or gradient is not finite."""
    return UserError(
        f"the loss or its gradient is not finite at update {update}; the policy stays as it was at update "
        f"{last}: lower the learning rate, or look for extreme values in the data"
    )


def _require(option: str, options: Sequence[str]) -> None:
    if option not in options:
        raise UserError(
            f"this policy has no {option}: leave it at 1, use another policy, or let its module read "
            f"observation[{option!r}] and list it in sampling_options"
        )
