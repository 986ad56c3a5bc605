"""What passes between data, methods and policies. No framework is imported here.

Dimension letters: N samples of a data set, U updates, B batch, H action horizon, A action, P
proprioception, K action tokens of a chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from envs.errors import UserError
from envs.fields import later
from envs.text import BUCKETS, MAX_WORDS
from envs.types import Observation

if TYPE_CHECKING:
    from policy_extraction.dataset import Dataset

Batch = Mapping[str, Any]
"""What a policy is updated on and a method's loss sees; leading axis B, in `Policy.update` [U, B].

    observation        {name: [B, ...]}, what `Policy.preprocess` makes; a mapping of its own
    action             [B, H, A] float32
    value              [B] float32, the critic's at the chunk's first frame, NaN where it is unknown
    advantage          [B] float32, NaN where it is unknown
    weight             [B] float32, set by `Method.select`, 1 where it sets none
    behavior_log_prob  [B] or [B, K] float32, of the action under the policy that acted; online methods only
    base_log_prob      as that, under the policy before training; online methods that ask for it (`with_base`) only
    executed           [B, H] float32, 1 for the actions of a chunk that were executed, else 0; online methods only
    seed               [B] uint32 (int64 in torch), names the noise that old and new log_prob share; online methods
                       only
    gain               [B] float32, what the critic says is gained in imagination; methods with a foresight only

`policy_extraction.batch.make_batch` makes it, for training, checks, benchmarks and reports alike.
"""


@runtime_checkable
class Method(Protocol):
    """How advantages become a better policy: a frozen dataclass whose fields are its configuration."""

    def select(self, dataset: Dataset) -> Dataset:
        """numpy: keep, weigh, relabel or normalise samples."""
        ...

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        """Per-sample loss [B]; the policy descends its mean. Pure; xp is numpy, jax.numpy or torch.

        `log_prob` has the shape of batch["behavior_log_prob"] when there is one, else [B]: where a policy
        has K tokens a chunk, their mean. Tokens of actions that were not executed are the method's to leave out
        (`policy_extraction.batch.executed_mean`).
        """
        ...


@dataclass(frozen=True)
class Rollouts:
    """What an online method needs from the environment at every iteration.

    Defaults are World-Gymnast's (arXiv 2602.02454), but for the numbers of groups (published: 20), of iterations and of
    executed steps.
    """

    groups: int = 8  # kept groups an iteration; others are drawn in place of those that the filter rejects
    group_size: int = 8  # rollouts from the same seed
    iterations: int = 10
    updates: int = 8  # gradient steps an iteration
    execute: int = 4  # control steps of a chunk that are executed; published 5
    temperature: float = 1.6
    budget: int = 0  # rollouts in all, after which training ends; 0: as many as the iterations take
    stop: float | None = None  # end with the iteration whose rollouts succeed in this share; none: never
    horizon: int = later(0)  # control steps of the first iteration's rollouts; 0: all that there are
    grow: float = later(0.5)  # with it: share of successes that makes the next ones half as long again

    def __post_init__(self) -> None:
        if self.horizon < 0:
            raise UserError(f"online.horizon is {self.horizon}; it is a number of control steps, or 0")
        if not 0 < self.grow <= 1:
            raise UserError(f"online.grow is {self.grow}; it is a share of rollouts, above 0 and up to 1")
        if self.group_size < 2:
            raise UserError(f"online.group_size is {self.group_size}; a group needs at least 2 rollouts")
        if self.budget and self.budget < self.group_size:
            raise UserError(
                f"online.budget is {self.budget} rollouts, less than a group of {self.group_size}; give more, or 0 for no "
                "limit"
            )
        if self.stop is not None and not 0 < self.stop <= 1:
            raise UserError(f"online.stop is {self.stop}; it is a share of rollouts, above 0 and up to 1")

    def left(self, drawn: int) -> int | None:
        """Groups that the budget still allows after so many were drawn; None: any number."""
        return self.budget // self.group_size - drawn if self.budget else None

    def lasts(self, whole: int, successes: Sequence[float]) -> int:
        """Control steps of the next iteration's rollouts, a multiple of `execute` or `whole`, the environment's own number.

        Args:
            successes: the share of each iteration's rollouts so far that succeeded.
        """
        steps = self.horizon or whole
        for share in successes:
            steps += steps // 2 if share >= self.grow else 0
        return min(whole, -(-steps // self.execute) * self.execute)


@runtime_checkable
class OnlineMethod(Protocol):
    """A method that learns from rollouts of the policy itself."""

    @property
    def online(self) -> Rollouts: ...


@runtime_checkable
class BasedMethod(Protocol):
    """An online method whose loss may compare with the policy before training: then batch["base_log_prob"] is there."""

    @property
    def with_base(self) -> bool: ...


def needs_base(method: Method) -> bool:
    """Whether it asks for the log-probabilities under the policy before training."""
    return isinstance(method, BasedMethod) and method.with_base


@dataclass(frozen=True)
class Foresight:
    """How far a method looks ahead that follows a value's gradient through a world model."""

    updates: int = 100  # gradient steps
    starts: int = 32  # states from which one gradient step looks ahead
    execute: int = 4  # control steps of a chunk that are imagined before the policy looks again

    def __post_init__(self) -> None:
        for name in ("updates", "starts", "execute"):
            if getattr(self, name) < 1:
                raise UserError(f"foresight.{name} is {getattr(self, name)}; it must be at least 1")


@runtime_checkable
class ForesightMethod(Protocol):
    """A method whose loss reads batch["gain"]: [B] float32, what a critic says is gained by what the policy would do,
    differentiable in the policy's weights. Its batch["action"] are chunks of the policy before training.
    """

    @property
    def foresight(self) -> Foresight: ...


@runtime_checkable
class PromptedMethod(Protocol):
    """A method that changes the prompt under which the policy acts (`acting.ActingPolicy`); guidance 1 is
    none.
    """

    @property
    def guidance(self) -> float: ...

    def act_instruction(self, instruction: str) -> str: ...


def online_rollouts(method: Method) -> Rollouts | None:
    """What `method` needs from the environment; None for a method that learns from the data set alone."""
    return method.online if isinstance(method, OnlineMethod) else None


def foresight_of(method: Method) -> Foresight | None:
    """How far `method` looks ahead; None for one that follows no gradient through a world model."""
    return method.foresight if isinstance(method, ForesightMethod) else None


def learns_from_data(method: Method) -> bool:
    """Whether `method` learns from a data set, and not from what its policy does or would do."""
    return online_rollouts(method) is None and foresight_of(method) is None


@dataclass(frozen=True)
class PolicySpec:
    """What a policy is made for; the only argument, beside randomness, of a user's module."""

    cameras: tuple[str, ...] = ("workspace", "wrist")
    image_size: int = 64
    proprio_dim: int = 8
    action_dim: int = 7
    action_horizon: int = 10
    max_words: int = MAX_WORDS
    word_buckets: int = BUCKETS


@dataclass(frozen=True)
class Sampling:
    """How to draw actions. A module that honours more than the defaults lists the fields in
    `sampling_options`.

    temperature: of action tokens; guidance: weight of classifier-free guidance, away from the same
    observation under the instructions `reference` (one a row) and 1 for none.
    """

    temperature: float = 1.0
    guidance: float = 1.0
    reference: tuple[str, ...] = ()


PLAIN = Sampling()
STATE_FILE = "policy.safetensors"  # in the folder of `Policy.save`


@dataclass(frozen=True)
class Training:
    """How a policy's parameters move. The learning rate warms up linearly, then stays or falls along a
    cosine.
    """

    learning_rate: float = 1e-3
    warmup: int = 50  # updates
    updates: int = 2000  # at which the cosine ends
    final_fraction: float = 0.1  # of the learning rate, at the end of the cosine; 1 keeps it constant
    weight_decay: float = 1e-6
    clip: float = 1.0  # global norm of the gradient
    ema: float = 0.998  # decay of the averaged weights that act; 0 for none


@runtime_checkable
class Eyes(Protocol):
    """What depends on pictures alone in a policy whose training leaves that part as it is.

    digest: stands for its weights, the cameras included; size: D; cameras: in the order of `look`'s.
    """

    digest: str
    size: int
    cameras: tuple[str, ...]

    def look(self, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the policy makes of pictures {camera: uint8 [B, H, W, 3]}: float32 [B, D]."""
        ...


@runtime_checkable
class Seeing(Protocol):
    """A policy that can be told what its frozen eyes would have seen, in `Observation.seen`; None: it has none."""

    @property
    def eyes(self) -> Eyes | None: ...


def frozen_eyes(policy: Policy) -> Eyes | None:
    """Of a policy that has such."""
    return policy.eyes if isinstance(policy, Seeing) else None


@runtime_checkable
class SharedTraining(Protocol):
    """A policy that several processes may train together: how many do. Then `save` and `restore` are called in all of them,
    and the first writes.
    """

    @property
    def processes(self) -> int: ...


def processes_of(policy: Policy) -> int:
    """How many processes train a policy together."""
    return policy.processes if isinstance(policy, SharedTraining) else 1


@runtime_checkable
class Policy(Protocol):
    """A trainable policy, behind an adapter of any framework."""

    spec: PolicySpec

    def act(self, observation: Observation, seeds: np.ndarray, sampling: Sampling = PLAIN) -> np.ndarray:
        """Action chunks float32 [B, H, A] of the averaged weights; row b is drawn with seeds[b] and from
        nothing else.
        """
        ...

    def preprocess(self, observation: Observation, sampling: Sampling = PLAIN) -> dict[str, np.ndarray]:
        """The arrays, leading axis B, that the network reads: used by `act` and for training alike.

        Raises:
            UserError: the observation is of another kind, or the policy does not honour `sampling`.
        """
        ...

    def update(self, batches: Batch, method: Method) -> dict[str, float]:
        """U gradient steps; `batches` has leading axes [U, B]. Returns mean metrics: `loss`, `log_prob`,
        `grad_norm`.

        Raises:
            UserError: a loss or gradient was not finite; such an update never reaches the policy.
        """
        ...

    def log_prob(self, batch: Batch) -> np.ndarray:
        """Of batch["action"] under the weights in training: float32 [B] or, where chunks are K tokens, [B,
        K], all of them. One number a chunk is of its executed actions alone, where the batch says which.

        Policies without a likelihood (flow, diffusion) return minus their per-sample training loss, with
        the noise that batch["seed"] names.

        Raises:
            UserError: the batch says which actions were executed, and the policy cannot tell them apart.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the whole training state, atomically; what is trained after `restore` is bit-identical."""
        ...

    def restore(self, folder: Path) -> None:
        """Go back to what `save` wrote.

        Raises:
            UserError: it is missing, damaged or of another policy.
        """
        ...
