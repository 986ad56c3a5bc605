"""The training loop: updates scanned on the devices, checkpoints that resume bit for bit, a stop at the first bad number.

Everything that an update draws follows from (seed, update number), so a run that was killed and resumed from its last
checkpoint ends with the same weights as one that was not. It may also be resumed on another number of devices: sums over
devices are then taken in another order, and the numbers agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from value_model.video import hosts
from value_model.video.prefetch import prefetch
from value_model.video.sharding import (
    own_rows,
    place_batch,
    place_state,
    replicate,
    state_shapes,
    state_shardings,
    use,
)

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called as progress(stage, updates done, updates in all, mean metrics since the last call)."""

Update = Callable[[Any, jax.Array, Any], tuple[Any, dict[str, jax.Array]]]
"""(state, the update's own key, data) → (state, metrics); the metrics hold at least `loss` and `grad_norm`."""


@dataclass(frozen=True)
class HostBatches:
    """Batches that are read on the host.

    read: (an update's number, which of the batch's rows) to numpy arrays of these rows, the same at every call: each of
        several hosts reads those of its own devices.
    size: rows of a batch.
    """

    read: Callable[[int, slice], Any]
    size: int


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
    fixed: Any = None,
) -> Any:
    """The state after `updates` updates, starting from the last checkpoint in `folder` if there is one.

    Args:
        stage: what is trained, for messages.
        update: one update; it is compiled and scanned.
        state: a pytree of arrays to start from. On a mesh it is moved there, and used up.
        data: a pytree of arrays that every update reads (what an update closes over would be compiled into it), or a
            source on the host of a batch for each, which is read while the devices work on the ones before.
        updates: how many in all.
        folder: where the checkpoints are kept.
        seed: of what the updates draw; it is no part of what is compiled, so that another seed compiles nothing.
        per_dispatch: updates per compiled call; with batches from the host it is one.
        checkpoint_every: updates between checkpoints.
        mesh: the devices that state and batches are split over (`data` is whole on each); None for a single one.
        fixed: arrays that updates read and leave as they are, in their places on the mesh; what updates are given is then
            (data, fixed).

    On several hosts that are together, a mesh is of all of them; without one the first host does the updates for all.

    Raises:
        UserError: a loss or gradient is not finite. The checkpoints before it are kept.
    """
    at_once = 1 if isinstance(data, HostBatches) else per_dispatch

    def run() -> Any:
        nonlocal state  # what was begun with is let go
        with use(mesh), _checkpoints(folder) as manager:
            done = manager.latest_step() or 0
            state = _restored(manager, done, state, mesh) if done else place_state(state, mesh)
            dispatch = _compile(update, state, at_once, mesh)
            batches, root = _batches(data, range(done, updates), mesh, fixed), jax.random.key(seed)
            while done < updates:
                until_checkpoint = checkpoint_every - done % checkpoint_every
                count = min(at_once, updates - done, until_checkpoint)
                state, metrics = dispatch(state, root, jnp.int32(done), jnp.int32(count), next(batches))
                metrics = {name: np.asarray(values)[:count] for name, values in metrics.items()}
                _stop_if_not_finite(stage, done, metrics, folder)
                done += count
                if done % checkpoint_every == 0 or done == updates:
                    _save(manager, done, state)
                if progress is not None:
                    progress(
                        stage, done, updates, {name: float(values.mean()) for name, values in metrics.items()}
                    )
        return state

    return run() if mesh is not None else hosts.by_first(run, lambda: state)


def _checkpoints(folder: Path) -> ocp.CheckpointManager:
    """Of one training, by whoever takes part in it."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2,
        create=False,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,
        multiprocessing_options=hosts.checkpointing(),
    )
    return ocp.CheckpointManager(folder.resolve(), options=options)


def _save(manager: ocp.CheckpointManager, done: int, state: Any) -> None:
    """One of several processes that is by itself may save what lies in its memory, and nothing on its devices."""
    saved = jax.tree.map(np.asarray, state) if hosts.apart() else state
    manager.save(done, args=ocp.args.StandardSave(saved))


def _restored(manager: ocp.CheckpointManager, done: int, like: Any, mesh: Mesh | None) -> Any:
    """A checkpoint's state in its places; `like`: what the training begins with."""
    if not hosts.apart():
        return manager.restore(done, args=ocp.args.StandardRestore(state_shapes(like, mesh)))
    held = manager.restore(done, args=ocp.args.StandardRestore(jax.tree.map(np.asarray, like)))
    return place_state(held, mesh)


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


def _batches(data: Any | HostBatches, numbers: range, mesh: Mesh | None, fixed: Any) -> Iterator[Any]:
    """The data of each dispatch, on the devices."""
    if isinstance(data, HostBatches):
        rows = own_rows(data.size, mesh)
        batches = prefetch(lambda number: place_batch(data.read(number, rows), mesh), numbers)
    else:
        batches = repeat(replicate(data, mesh))
    return batches if fixed is None else ((batch, fixed) for batch in batches)


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
