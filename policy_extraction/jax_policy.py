"""The adapter that makes a policy of a flax NNX module.

The module, of the user's own, needs two methods, and a constructor that takes a PolicySpec and nnx.Rngs:

    log_prob(observation, action[, key]) -> [B] or [B, K]
    sample(observation, key) -> [B, H, A]

`observation` is a dict of arrays with leading axis B, what `preprocess` gave (by default `inputs.raw_inputs`). With a
key each row is called alone, with a key of its own, so that a row's noise does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
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
from policy_extraction.inputs import raw_inputs, sampling_inputs, takes_key
from policy_extraction.tree import named_leaves, tree_like
from policy_extraction.types import Batch, Method, PolicySpec, Sampling, Training

STATE_FILE = "policy.safetensors"
Preprocess = Callable[[Observation], dict[str, np.ndarray]]


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
        self.preprocess = preprocess or partial(raw_inputs, spec=spec)
        self._options = tuple(getattr(module, "sampling_options", ()))
        self._graph, params, self._rest = nnx.split(module, nnx.Param, ...)
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
    def module(self) -> nnx.Module:
        """A copy of the module with the averaged weights."""
        return _module(self._graph, self._state["ema"], self._rest)

    def act(self, observation: Observation, seeds: np.ndarray, sampling: Sampling = Sampling()) -> np.ndarray:  # noqa: B008
        inputs = self.preprocess(observation) | sampling_inputs(
            sampling, self._options, len(seeds), self.spec
        )
        actions = _sample(self._graph, self._state["ema"], self._rest, inputs, _uint32(seeds))
        return np.asarray(actions, np.float32)

    def update(self, batches: Batch, method: Method) -> dict[str, float]:
        state, metrics = _updates(
            self._graph, self.training, method, self._state, self._rest, batches, self.seed
        )
        metrics = jax.device_get(metrics)
        if not all(np.isfinite(values).all() for values in metrics.values()):
            bad = self.step + int(np.argmin(np.isfinite(metrics["loss"]) & np.isfinite(metrics["grad_norm"])))
            raise UserError(
                f"the loss or its gradient is not finite at update {bad}; the policy stays as it was at update "
                f"{self.step}: lower training.learning_rate or look for extreme values in the data"
            )
        self._state = state
        return {name: float(values.mean()) for name, values in metrics.items()}

    def log_prob(self, batch: Batch) -> np.ndarray:
        seeds = batch.get("seed", np.arange(len(batch["action"])))
        keys = _keys(_uint32(seeds))
        return np.asarray(
            _jit_log_prob(self._graph, self._state["params"], self._rest, dict(batch), keys), np.float32
        )

    def save(self, folder: Path) -> None:
        save_arrays(folder / STATE_FILE, named_leaves(self._state), {"framework": "jax"})

    def restore(self, folder: Path) -> None:
        saved, _ = load_arrays(folder / STATE_FILE)
        self._state = tree_like(self._state, saved, folder / STATE_FILE)


def make_optimizer(training: Training) -> optax.GradientTransformation:
    """AdamW after clipping the gradient's global norm; linear warm-up, then a cosine."""
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=training.learning_rate / (training.warmup + 1),
        peak_value=training.learning_rate,
        warmup_steps=training.warmup,
        decay_steps=max(training.updates, training.warmup + 1),
        end_value=training.learning_rate * training.final_fraction,
    )
    return optax.chain(
        optax.clip_by_global_norm(training.clip), optax.adamw(schedule, weight_decay=training.weight_decay)
    )


def _module(graph: Any, params: Any, rest: Any) -> Any:
    state = nnx.State(params)
    return nnx.merge(graph, state, rest)


def _uint32(seeds: np.ndarray) -> np.ndarray:
    """Any integers as seeds: uint32 [B, 2], low and high words."""
    wide = np.asarray(seeds).astype(np.uint64)
    return np.stack([wide & 0xFFFFFFFF, wide >> np.uint64(32)], -1).astype(np.uint32)


def _keys(seeds: Any) -> Any:
    return jax.vmap(lambda words: jax.random.fold_in(jax.random.key(words[0]), words[1]))(seeds)


@partial(jax.jit, static_argnums=0)
def _sample(graph: Any, params: Any, rest: Any, inputs: Any, seeds: Any) -> Any:
    module = _module(graph, params, rest)
    return jax.vmap(lambda row, key: module.sample(_one(row), key)[0])(inputs, _keys(seeds))


def _log_prob(module: Any, batch: Batch, keys: Any) -> Any:
    if not takes_key(type(module)):
        return module.log_prob(batch["observation"], batch["action"])
    one = lambda row, action, key: module.log_prob(_one(row), action[None], key)[0]  # noqa: E731
    return jax.vmap(one)(batch["observation"], batch["action"], keys)


@partial(jax.jit, static_argnums=0)
def _jit_log_prob(graph: Any, params: Any, rest: Any, batch: Any, keys: Any) -> Any:
    return _log_prob(_module(graph, params, rest), batch, keys)


def _one(row: Any) -> Any:
    return jax.tree.map(lambda array: array[None], row)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _updates(
    graph: Any, training: Training, method: Method, state: Any, rest: Any, batches: Any, seed: Any
) -> Any:
    optimizer = make_optimizer(training)

    def mean_loss(params: Any, batch: Any, keys: Any) -> Any:
        log_prob = _log_prob(_module(graph, params, rest), batch, keys)
        if log_prob.ndim == 2 and jnp.ndim(batch.get("behavior_log_prob", 0)) < 2:
            log_prob = jnp.mean(log_prob, axis=1)
        return jnp.mean(method.loss(jnp, log_prob, batch)), jnp.mean(log_prob)

    def one_update(state: Any, batch: Any) -> Any:
        step = state["step"]
        own = jax.random.split(jax.random.fold_in(jax.random.key(seed), step), len(batch["action"]))
        keys = (
            _keys(jnp.stack([batch["seed"], jnp.zeros_like(batch["seed"])], -1)) if "seed" in batch else own
        )
        (loss, log_prob), gradient = jax.value_and_grad(mean_loss, has_aux=True)(state["params"], batch, keys)
        moves, optimizer_state = optimizer.update(gradient, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], moves)
        decay = jnp.minimum(training.ema, (1.0 + step) / (10.0 + step))
        ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state["ema"], params)
        metrics = {"loss": loss, "log_prob": log_prob, "grad_norm": optax.global_norm(gradient)}
        return {"params": params, "ema": ema, "optimizer": optimizer_state, "step": step + 1}, metrics

    return jax.lax.scan(one_update, state, dict(batches))
