"""The training loop: updates scanned on the devices, checkpoints that resume bit for bit, a stop at the first bad number.

Everything that an update draws follows from (seed, update number), so a run that was killed and resumed from its last
checkpoint ends with the same weights as one that was not. It may also be resumed on another number of devices: sums over
devices are then taken in another order, and the numbers agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from envs.errors import UserError
from value_model.video.prefetch import prefetch
from value_model.video.sharding import place_batch, place_state, replicate, state_shapes, state_shardings, use

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called as progress(stage, updates done, updates in all, mean metrics since the last call)."""

Update = Callable[[Any, jax.Array, Any], tuple[Any, dict[str, jax.Array]]]
"""(state, the update's own key, data) → (state, metrics); the metrics hold at least `loss` and `grad_norm`."""

HostBatches = Callable[[int], Any]
"""A source of batches on the host: an update's numpy arrays from its number, the same at every call."""


def run_updates(
    stage: str,
    update: Update,
    state: Any,
    data: Any | HostBatches,
    updates: int,
    folder: Path,
    *,
    seed: int,
    per_dispatch: int,
    checkpoint_every: int,
    progress: Progress | None = None,
    mesh: Mesh | None = None,
) -> Any:
    """The state after `updates` updates, starting from the last checkpoint in `folder` if there is one.

    Args:
        stage: what is trained, for messages.
        update: one update; it is compiled and scanned.
        state: a pytree of arrays to start from. On a mesh it is moved there, and used up.
        data: a pytree of arrays that every update reads (what an update closes over would be compiled into it), or a
            source on the host of a batch for each, which is made while the devices work on the ones before.
        updates: how many in all.
        folder: where the checkpoints are kept.
        seed: of what the updates draw; it is no part of what is compiled, so that another seed compiles nothing.
        per_dispatch: updates per compiled call; with batches from the host it is one.
        checkpoint_every: updates between checkpoints.
        mesh: the devices that state and batches are split over (`data` is whole on each); None for a single one.

    Raises:
        UserError: a loss or gradient is not finite. The checkpoints before it are kept.
    """
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    with use(mesh), ocp.CheckpointManager(folder.resolve(), options=options) as manager:
        done = manager.latest_step() or 0
        if done:
            abstract = state_shapes(state, mesh)
            state = manager.restore(done, args=ocp.args.StandardRestore(abstract))
        else:
            state = place_state(state, mesh)
        per_dispatch = 1 if callable(data) else per_dispatch
        dispatch = _compile(update, state, per_dispatch, mesh)
        batches, root = _batches(data, range(done, updates), mesh), jax.random.key(seed)
        while done < updates:
            until_checkpoint = checkpoint_every - done % checkpoint_every
            count = min(per_dispatch, updates - done, until_checkpoint)
            state, metrics = dispatch(state, root, jnp.int32(done), jnp.int32(count), next(batches))
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


def _compile(update: Update, state: Any, per_dispatch: int, mesh: Mesh | None) -> Callable[..., Any]:
    """(state, the run's key, first update, how many of at most `per_dispatch`, data) → (state, metrics of each); uses the
    state up.
    """
    places = None
    if mesh is not None:
        places = (state_shardings(state, mesh), NamedSharding(mesh, PartitionSpec()))
    update = jax.jit(update)  # traced once, for the metrics' shapes and in the loop

    @partial(jax.jit, donate_argnums=0, out_shardings=places)
    def dispatch(state: Any, root: jax.Array, first: jax.Array, count: jax.Array, data: Any) -> Any:
        if per_dispatch == 1:  # no loop: XLA's convolutions are slow inside one on a CPU
            state, metrics = update(state, jax.random.fold_in(root, first), data)
            return state, jax.tree.map(lambda metric: metric[None], metrics)

        def one(
            offset: jax.Array, carry: tuple[Any, dict[str, jax.Array]]
        ) -> tuple[Any, dict[str, jax.Array]]:
            state, metrics = update(carry[0], jax.random.fold_in(root, first + offset), data)
            return state, jax.tree.map(lambda kept, metric: kept.at[offset].set(metric), carry[1], metrics)

        shapes = jax.eval_shape(update, state, root, data)[1]
        empty = jax.tree.map(lambda metric: jnp.zeros((per_dispatch, *metric.shape), metric.dtype), shapes)
        return jax.lax.fori_loop(0, count, one, (state, empty))

    return dispatch


def _batches(data: Any | HostBatches, numbers: range, mesh: Mesh | None) -> Iterator[Any]:
    """The data of each dispatch, on the devices."""
    if callable(data):
        return prefetch(lambda number: place_batch(data(number), mesh), numbers)
    return repeat(replicate(data, mesh))


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
