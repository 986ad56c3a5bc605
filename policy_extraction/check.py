"""Checks that tell the author of a policy or a method, in plain words, what is wrong with it."""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.types import Observation
from policy_extraction.adapters.inputs import raw_inputs
from policy_extraction.batch import NOTHING_LEFT, make_batch
from policy_extraction.dataset import Dataset
from policy_extraction.types import (
    Batch,
    Method,
    Policy,
    PolicySpec,
    foresight_of,
    needs_base,
    online_rollouts,
)

ROWS = 4
SEEDS = np.arange(ROWS)
FAILURES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # of a user's loss


def check_policy(policy: Policy) -> None:
    """Try all that training and rollouts need, on invented observations; the policy is left as it was.

    A policy that acts the same for every seed is only warned about.

    Raises:
        UserError: the first thing that is wrong.
    """
    observation = example_observation(policy.spec)
    _check_act(policy, observation)
    inputs = policy.preprocess(observation)
    for name, array in inputs.items():
        if len(array) != ROWS:
            raise UserError(f"preprocess gave {name!r} of shape {array.shape} for {ROWS} observations")
    spec = policy.spec
    shape = (ROWS, spec.action_horizon, spec.action_dim)
    action = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    samples = replace(example_samples(spec, ROWS), action=action, seed=SEEDS.astype(np.uint32))
    batch = make_batch(samples, inputs)
    _check_log_prob(policy, batch)
    _check_training(policy, batch)


def example_observation(spec: PolicySpec, rows: int = ROWS) -> Observation:
    """Random pictures and numbers of the right shapes."""
    rng = np.random.default_rng(0)
    size = (rows, spec.image_size, spec.image_size, 3)
    images = {camera: rng.integers(0, 256, size, np.uint8) for camera in spec.cameras}
    proprio = rng.normal(size=(rows, spec.proprio_dim)).astype(np.float32)
    return Observation(images, proprio, ("pick up the cube",) * rows)


def _check_act(policy: Policy, observation: Observation) -> None:
    actions = policy.act(observation, SEEDS)
    if not np.isfinite(actions).all():
        raise UserError(
            "sample gave actions that are not finite; look for a division by zero or a logarithm of 0"
        )
    if not np.array_equal(actions, policy.act(observation, SEEDS)):
        raise UserError("sample gave other actions for the same seeds; take all randomness from its key")
    among_others = policy.act(observation[np.array([0, 1, 1, 1])], SEEDS)
    if not np.allclose(among_others[0], actions[0], atol=1e-3):
        raise UserError("sample gave other actions for a row among other rows; keep rows apart")
    same = policy.act(observation[np.zeros(ROWS, np.int64)], SEEDS)
    if np.ptp(same, axis=0).max() == 0:
        warnings.warn("sample ignores its key: every rollout of a group will be the same", stacklevel=3)


def _check_log_prob(policy: Policy, batch: Batch) -> None:
    log_prob = policy.log_prob(batch)
    if not np.isfinite(log_prob).all():
        raise UserError(
            "log_prob is not finite for actions in [-1, 1]; bound scales and probabilities away from 0"
        )
    backwards = policy.log_prob(_take(batch, np.arange(ROWS)[::-1]))
    if not np.allclose(backwards[::-1], log_prob, rtol=1e-3, atol=1e-3):
        raise UserError(
            "log_prob of a sample depends on the others in its batch; do not average over the batch"
        )
    if ROWS > 1 and np.ptp(log_prob, axis=0).max() == 0:
        raise UserError("log_prob is the same for every sample; it must depend on observation and action")


def _check_training(policy: Policy, batch: Batch) -> None:
    before = policy.log_prob(batch)
    one_update = _take({name: array for name, array in batch.items() if name != "seed"}, None)
    with tempfile.TemporaryDirectory() as folder:
        policy.save(Path(folder))
        metrics = policy.update(one_update, _Clone())
        policy.restore(Path(folder))
    if metrics["grad_norm"] == 0:
        raise UserError("the loss has no gradient: compute log_prob from the module's parameters, undetached")
    if not np.array_equal(policy.log_prob(batch), before):
        raise UserError(
            "log_prob differs after save, update and restore; keep all state in the module's variables"
        )


@dataclass(frozen=True)
class _Clone:
    """Behaviour cloning, to see whether the policy can learn at all."""

    def select(self, dataset: Dataset) -> Dataset:
        return dataset

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        return -log_prob


def _take(arrays: Any, index: np.ndarray | None) -> Any:
    """The rows at `index` of every array, however nested; for None, all rows under one more leading
    axis.
    """
    if isinstance(arrays, dict):
        return {name: _take(array, index) for name, array in arrays.items()}
    return arrays[index]


def example_samples(spec: PolicySpec, count: int, online: bool = False) -> Dataset:
    """Invented chunks, two an episode, half of the episodes solved, two episodes a group; the columns of rollouts too
    if `online`.
    """
    rng = np.random.default_rng(0)
    row = np.arange(count)
    samples = Dataset(
        episode=row // 2,
        frame=row % 2,
        action=rng.uniform(-1, 1, (count, spec.action_horizon, spec.action_dim)).astype(np.float32),
        instruction=np.array(["pick up the cube"] * count),
        value=rng.uniform(size=count).astype(np.float32),
        advantage=rng.normal(0, 0.1, count).astype(np.float32),
        weight=np.ones(count, np.float32),
        outcome=(row // 2 % 2 == 0).astype(np.float32),
        group=row // 4,
    )
    if not online:
        return samples
    return replace(
        samples,
        behavior_log_prob=np.full(count, -1, np.float32),
        executed=1 + row % spec.action_horizon,
        seed=rng.integers(0, 2**32, count, dtype=np.uint32),
    )


def check_method(candidate: Any, policy: Policy | None = None) -> None:
    """Try a method on invented data, with numpy and under JAX's tracing.

    Args:
        policy: whose observations and log-probabilities the method will see; without one, those of a policy that
        reads pictures, proprioception and words, a number a chunk.

    Raises:
        UserError: the first thing that is wrong.
    """
    name = type(candidate).__name__
    for function in ("select", "loss"):
        if not callable(getattr(candidate, function, None)):
            raise UserError(f"the method {name} has no {function}(); see policy_extraction/methods/awr.py")
    if not (dataclasses.is_dataclass(candidate) and type(candidate).__hash__):
        raise UserError(f"the method {name} must be a frozen dataclass: put @dataclass(frozen=True) above it")
    method: Any = candidate
    online = online_rollouts(method) is not None
    spec = policy.spec if policy else PolicySpec()
    samples = example_samples(spec, 2 * ROWS, online)
    selected = method.select(samples)
    if not isinstance(selected, Dataset):
        raise UserError(f"{name}.select must return a Dataset, not {type(selected).__name__}")
    observation = example_observation(spec, len(samples))
    batch = make_batch(samples, policy.preprocess(observation) if policy else raw_inputs(observation, spec))
    log_prob = np.linspace(-2, -1, len(samples), dtype=np.float32)
    if foresight_of(method):
        batch["gain"] = np.linspace(0, 0.1, len(samples), dtype=np.float32)
    if policy and online:
        log_prob = policy.log_prob(batch)
        batch["behavior_log_prob"] = log_prob
    if needs_base(method):
        batch["base_log_prob"] = log_prob - 0.5
    _check_loss(method, log_prob, batch)


def _check_loss(method: Method, log_prob: np.ndarray, batch: dict[str, Any]) -> None:
    import jax
    import jax.numpy as jnp

    name = type(method).__name__
    try:
        by_numpy = np.asarray(method.loss(np, log_prob, _told(batch, name)))
    except FAILURES as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{name}.loss failed on log_prob {list(log_prob.shape)} of {len(log_prob)} samples: "
            f"{type(error).__name__}: {error}"
        ) from error
    if by_numpy.shape != (len(log_prob),):
        raise UserError(
            f"{name}.loss gave shape {by_numpy.shape}; it must give one number a sample, {(len(log_prob),)}"
        )
    if not np.isfinite(by_numpy).all():
        raise UserError(f"{name}.loss is not finite for advantages around 0 and log-probabilities around -1")
    try:
        by_jax = jax.jit(lambda log_prob, batch: method.loss(jnp, log_prob, batch))(log_prob, batch)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise UserError(f"{name}.loss must use xp's functions alone: no numpy, no `if` on arrays") from error
    if not np.allclose(by_jax, by_numpy, rtol=1e-4, atol=1e-5):
        raise UserError(
            f"{name}.loss differs between numpy and JAX; it must be a pure function of its arguments"
        )


def check_samples(method: Method, batch: Batch) -> None:
    """Refuse a method whose loss is not finite over the very samples that it selected.

    Args:
        batch: all of them.

    Raises:
        UserError: it is not, for instance because an unknown advantage (NaN) goes into it.
    """
    name, count = type(method).__name__, len(batch["action"])
    if not count:
        raise UserError(NOTHING_LEFT)
    loss = np.asarray(method.loss(np, np.full(count, -1, np.float32), batch))
    wrong = int((~np.isfinite(loss)).sum())
    if wrong:
        unknown = int(np.isnan(batch["advantage"]).sum())
        raise UserError(
            f"{name}.loss is not finite for {wrong} of {count} samples, of which {unknown} have an unknown advantage "
            f"(NaN): let {name}.select weigh them or leave them out, as policy_extraction/methods do"
        )


class _Told(dict[str, Any]):
    """A mapping that says in one line what it does not hold. (jax.jit takes plain ones alone.)"""

    def __init__(self, content: Mapping[str, Any], place: str, names: str) -> None:
        super().__init__(content)
        self.place, self.names = place, names

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.place}[{key!r}], which there is not; there are {self.names}")


def _told(batch: Mapping[str, Any], name: str) -> _Told:
    """The batch as a method sees it, keys that it does not hold refused."""
    seen = batch["observation"]
    inside = _Told(seen, f"{name}.loss reads batch['observation']", f"{', '.join(seen)} with this policy")
    names = ", ".join(batch)
    if "behavior_log_prob" not in batch:
        names += "; those of rollouts are there for a method with a field online: Rollouts alone"
    elif "base_log_prob" not in batch:
        names += "; base_log_prob is there for a method whose with_base is true"
    return _Told({**batch, "observation": inside}, f"{name}.loss reads batch", names)
