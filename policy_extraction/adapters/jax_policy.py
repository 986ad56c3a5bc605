"""The adapter that makes a policy of a flax NNX module.

The module, of the user's own, needs two methods, and a constructor that takes a PolicySpec and nnx.Rngs:

    log_prob(observation, action[, key][, executed=None]) -> [B] or [B, K]
    sample(observation, key) -> [B, H, A]

`observation` is a dict of arrays with leading axis B, what `preprocess` gave (by default
`inputs.raw_inputs`); K is a multiple of the horizon H, the tokens of an action side by side. For online
methods a log_prob [B] takes `executed` [B, H]: 1 for the actions of a chunk that count, 0 for the others.
With a key each row is called alone, with a key of its own, so that a row's noise does not depend on its
neighbours. A module whose draws are differentiable in its weights may have a `pathwise.Pathwise` method beside.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from envs.errors import UserError
from envs.files import load_arrays, save_arrays
from envs.types import Observation
from policy_extraction.adapters.inputs import (
    Preprocess,
    check_chunks,
    check_log_prob,
    check_tokens,
    not_finite,
    raw_inputs,
    sampling_inputs,
    takes_executed,
    takes_key,
)
from policy_extraction.adapters.pathwise import Objective, Pathwise, TracedInputs, TracedPolicy
from policy_extraction.adapters.schedule import ema_decay, learning_rate
from policy_extraction.adapters.tree import named_leaves, tree_like
from policy_extraction.batch import executed_mean
from policy_extraction.types import (
    PLAIN,
    STATE_FILE,
    Batch,
    Eyes,
    Method,
    PolicySpec,
    Sampling,
    Seeing,
    Training,
)


class JaxPolicy:
    """A `Policy` around a flax NNX module; trains its nnx.Param and leaves all else as it is."""

    def __init__(
        self,
        module: nnx.Module,
        spec: PolicySpec,
        training: Training = Training(),  # noqa: B008
        seed: int = 0,
        preprocess: Preprocess | None = None,
    ) -> None:
        self.spec = spec
        self.training = training
        self.seed = seed
        self._read = preprocess or partial(raw_inputs, spec=spec)
        self._reads = preprocess.traced if isinstance(preprocess, TracedInputs) else None
        if preprocess is None:
            self._reads = dict
        self.pathwise = isinstance(module, Pathwise)  # whether `update` takes an objective
        self._options = tuple(getattr(module, "sampling_options", ()))
        kinds = (nnx.Param, (nnx.RngState, nnx.BatchStat), ...)
        self._graph, params, changing, self._rest = nnx.split(module, *kinds)
        if jax.tree.leaves(changing):
            raise UserError(
                "the policy's module keeps random state or batch statistics (nnx.Dropout, nnx.BatchNorm); "
                "draw from the key of log_prob and normalise by layer instead"
            )
        params = nnx.to_pure_dict(params)
        self._state = {
            "params": params,
            "ema": jax.tree.map(jnp.copy, params),
            "optimizer": make_optimizer(training).init(params),
            "step": jnp.zeros((), jnp.int32),
        }

    @property
    def step(self) -> int:
        """Updates made so far."""
        return int(self._state["step"])

    @property
    def eyes(self) -> Eyes | None:
        """See `Seeing`: those of `preprocess`, if it has any."""
        return self._read.eyes if isinstance(self._read, Seeing) else None

    @property
    def module(self) -> nnx.Module:
        """A copy of the module with the averaged weights."""
        return _module(self._graph, self._state["ema"], self._rest)

    def preprocess(self, observation: Observation, sampling: Sampling = PLAIN) -> dict[str, np.ndarray]:
        extra = sampling_inputs(sampling, self._options, len(observation), self.spec)
        return self._read(observation) | extra

    def act(self, observation: Observation, seeds: np.ndarray, sampling: Sampling = PLAIN) -> np.ndarray:
        inputs = self.preprocess(observation, sampling)
        actions = _sample(self._graph, self.spec, self._state["ema"], self._rest, inputs, _uint32(seeds))
        return np.asarray(actions, np.float32)

    def update(self, batches: Batch, method: Method, objective: Objective | None = None) -> dict[str, float]:
        """See `Policy`; with an objective the method sees batch["gain"], whose mean is a further metric."""
        function, parts = objective or (None, None)
        reads = self._reads if objective else None
        static = (self._graph, self.training, method, self.spec, reads, function)
        state, history = self._state, []
        for u in range(len(batches["action"])):  # a scan would slow convolutions twentyfold on a CPU
            batch = jax.tree.map(lambda array: array[u], dict(batches))  # noqa: B023
            seed = np.uint32(self.seed % 2**32)
            state, metrics = _update(*static, state, self._rest, batch, seed, parts)
            history.append(metrics)
        columns = {name: np.array([metrics[name] for metrics in history]) for name in history[0]}
        finite = np.all([np.isfinite(values) for values in columns.values()], axis=0)
        if not finite.all():
            raise not_finite(self.step + int(np.argmin(finite)), self.step)
        self._state = state
        return {name: float(values.mean()) for name, values in columns.items()}

    def log_prob(self, batch: Batch) -> np.ndarray:
        seeds = batch.get("seed", np.arange(len(batch["action"])))
        inputs = {name: batch[name] for name in ("observation", "action", "executed") if name in batch}
        log_prob = _log_probs(self._graph, self._state["params"], self._rest, inputs, _uint32(seeds))
        return np.asarray(log_prob, np.float32)

    def save(self, folder: Path) -> None:
        save_arrays(folder / STATE_FILE, named_leaves(self._state), {"framework": "jax"})

    def restore(self, folder: Path) -> None:
        saved, _ = load_arrays(folder / STATE_FILE)
        self._state = tree_like(self._state, saved, folder / STATE_FILE)


def make_optimizer(training: Training) -> optax.GradientTransformation:
    """AdamW after clipping the gradient's global norm; linear warm-up, then a cosine."""
    schedule = partial(learning_rate, jnp, training)
    adam = optax.adamw(schedule, weight_decay=training.weight_decay)
    return optax.chain(optax.clip_by_global_norm(training.clip), adam)


def _module(graph: Any, params: Any, rest: Any) -> Any:
    return nnx.merge(graph, nnx.State(params), rest)


def _uint32(seeds: np.ndarray) -> np.ndarray:
    """Any integers as seeds: uint32 [B, 2], low and high words."""
    wide = np.asarray(seeds).astype(np.uint64)
    return np.stack([wide & 0xFFFFFFFF, wide >> np.uint64(32)], -1).astype(np.uint32)


def _keys(seeds: Any) -> Any:
    return jax.vmap(lambda words: jax.random.fold_in(jax.random.key(words[0]), words[1]))(seeds)


@partial(jax.jit, static_argnums=(0, 1))
def _sample(graph: Any, spec: PolicySpec, params: Any, rest: Any, inputs: Any, seeds: Any) -> Any:
    module = _module(graph, params, rest)

    def one(row: Any, key: Any) -> Any:
        chunk = module.sample(_batch_of_one(row), key)
        check_chunks(chunk.shape, 1, spec)
        return chunk[0]

    return jax.vmap(one)(inputs, _keys(seeds))


def _log_prob(module: Any, batch: Batch, keys: Any) -> Any:
    told = {"executed": batch["executed"]} if "executed" in batch and takes_executed(type(module)) else {}
    if takes_key(type(module)):

        def one(row: Any, action: Any, key: Any, told: Any) -> Any:
            log_prob = module.log_prob(_batch_of_one(row), action[None], key, **_batch_of_one(told))
            check_log_prob(log_prob.shape, 1)
            return log_prob[0]

        log_prob = jax.vmap(one)(batch["observation"], batch["action"], keys, told)
    else:
        log_prob = module.log_prob(batch["observation"], batch["action"], **told)
        check_log_prob(log_prob.shape, len(batch["action"]))
    if "executed" in batch:
        check_tokens(log_prob.shape, batch["executed"].shape, type(module))
    return log_prob


@partial(jax.jit, static_argnums=0)
def _log_probs(graph: Any, params: Any, rest: Any, batch: Any, seeds: Any) -> Any:
    return _log_prob(_module(graph, params, rest), batch, _keys(seeds))


def _batch_of_one(row: Any) -> Any:
    return jax.tree.map(lambda array: array[None], row)


@partial(jax.jit, static_argnums=range(6))
def _update(
    graph: Any,
    training: Training,
    method: Method,
    spec: PolicySpec,
    reads: Any,
    function: Any,
    state: Any,
    rest: Any,
    batch: Any,
    seed: Any,
    parts: Any,
) -> Any:
    """One gradient step: the next state and the metrics."""
    step, old = state["step"], state["params"]
    keys = _training_keys(batch, jax.random.fold_in(jax.random.key(seed), step))

    def mean_loss(params: Any) -> Any:
        module = _module(graph, params, rest)
        log_prob = _log_prob(module, batch, keys)
        chunk = executed_mean(jnp, log_prob, batch) if log_prob.ndim == 2 else log_prob
        by_token = jnp.ndim(batch.get("behavior_log_prob", 0)) == 2
        seen, told = batch, {"log_prob": jnp.mean(chunk)}
        if function is not None:
            gain = function(TracedPolicy(module, spec, reads), parts, batch, keys)
            seen, told = {**batch, "gain": gain}, {**told, "gain": jnp.mean(gain)}
        return jnp.mean(method.loss(jnp, log_prob if by_token else chunk, seen)), told

    (loss, told), gradient = jax.value_and_grad(mean_loss, has_aux=True)(old)
    moves, optimizer = make_optimizer(training).update(gradient, state["optimizer"], old)
    params = optax.apply_updates(old, moves)
    decay = ema_decay(jnp, training, step)
    ema = jax.tree.map(lambda average, new: decay * average + (1 - decay) * new, state["ema"], params)
    metrics = {"loss": loss, **told, "grad_norm": optax.global_norm(gradient)}
    return {"params": params, "ema": ema, "optimizer": optimizer, "step": step + 1}, metrics


def _training_keys(batch: Batch, key: Any) -> Any:
    """A key a row: those that the batch names, else fresh ones."""
    if "seed" in batch:
        return _keys(jnp.stack([batch["seed"], jnp.zeros_like(batch["seed"])], axis=-1))
    return jax.random.split(key, len(batch["action"]))
