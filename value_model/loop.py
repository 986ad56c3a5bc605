"""The training loop: updates scanned on the device, checkpoints that resume bit for bit, a stop at the first bad number.

Everything that an update draws follows from (seed, update number), so a run that was killed and resumed from its last
checkpoint ends with the same weights as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from envs.errors import UserError

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called as progress(stage, updates done, updates in all, mean metrics since the last call)."""

Update = Callable[[Any, jax.Array, Any], tuple[Any, dict[str, jax.Array]]]
"""(state, update number, data) → (state, metrics); the metrics hold at least `loss` and `grad_norm`."""


def run_updates(
    stage: str,
    update: Update,
    state: Any,
    data: Any,
    updates: int,
    folder: Path,
    *,
    per_dispatch: int,
    checkpoint_every: int,
    progress: Progress | None = None,
) -> Any:
    """The state after `updates` updates, starting from the last checkpoint in `folder` if there is one.

    Args:
        stage: what is trained, for messages.
        update: one update; it is compiled and scanned.
        state: a pytree of arrays to start from.
        data: a pytree of arrays that every update reads; what an update closes over would be compiled into it.
        updates: how many in all.
        folder: where the checkpoints are kept.
        per_dispatch: updates per compiled call.
        checkpoint_every: updates between checkpoints.

    Raises:
        UserError: a loss or gradient is not finite. The checkpoints before it are kept.
    """

    shapes = jax.eval_shape(update, state, jnp.int32(0), data)[1]
    empty = jax.tree.map(lambda metric: jnp.zeros((per_dispatch, *metric.shape), metric.dtype), shapes)

    @jax.jit
    def dispatch(
        state: Any, first: jax.Array, count: jax.Array, data: Any
    ) -> tuple[Any, dict[str, jax.Array]]:
        if per_dispatch == 1:  # no loop: XLA's convolutions are slow inside one on a CPU
            state, metrics = update(state, first, data)
            return state, jax.tree.map(lambda metric: metric[None], metrics)

        def one(
            offset: jax.Array, carry: tuple[Any, dict[str, jax.Array]]
        ) -> tuple[Any, dict[str, jax.Array]]:
            state, metrics = update(carry[0], first + offset, data)
            return state, jax.tree.map(lambda kept, metric: kept.at[offset].set(metric), carry[1], metrics)

        return jax.lax.fori_loop(0, count, one, (state, empty))

    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    with ocp.CheckpointManager(folder.resolve(), options=options) as manager:
        done = manager.latest_step() or 0
        if done:
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
            state = manager.restore(done, args=ocp.args.StandardRestore(abstract))
        while done < updates:
            until_checkpoint = checkpoint_every - done % checkpoint_every
            count = min(per_dispatch, updates - done, until_checkpoint)
            state, metrics = dispatch(state, jnp.int32(done), jnp.int32(count), data)
            metrics = {name: np.asarray(values)[:count] for name, values in metrics.items()}
            _stop_if_not_finite(stage, done, metrics, folder)
            done += count
            if done % checkpoint_every == 0 or done == updates:
                manager.save(done, args=ocp.args.StandardSave(state))
            if progress is not None:
                progress(
                    stage, done, updates, {name: float(values.mean()) for name, values in metrics.items()}
                )
    return state


def gradient_step(
    optimizer: optax.GradientTransformation, gradients: Any, optimizer_state: Any, params: Any
) -> tuple[Any, Any, jax.Array]:
    """New parameters, new optimizer state and the gradients' global norm."""
    step, optimizer_state = optimizer.update(gradients, optimizer_state, params)
    return optax.apply_updates(params, step), optimizer_state, optax.global_norm(gradients)


def _stop_if_not_finite(stage: str, done: int, metrics: dict[str, np.ndarray], folder: Path) -> None:
    bad = ~np.isfinite(metrics["loss"]) | ~np.isfinite(metrics["grad_norm"])
    if bad.any():
        raise UserError(
            f"the {stage}'s loss became non-finite at update {done + int(bad.argmax()) + 1}; "
            f"the last good checkpoint is kept in {folder}; lower the learning rate"
        )
