"""Many devices as one: batches split over them, and every large parameter with its optimizer state too (ZeRO-3, FSDP).

One program is written and compiled for all devices (SPMD, `jax.jit`); XLA puts in the collectives. There is one mesh
axis: a device holds 1/n of every matrix and computes 1/n of every batch. A layer's matrices are gathered right before
they are used, in the precision they are used in, and their gradients scattered right after. On a single device there
is no mesh, and every function here gives back what it was given.

Rajbhandari et al., "ZeRO" (arXiv 1910.02054), stage 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from envs.errors import UserError
from value_model.video import hosts

AXIS = "devices"
STACKED = (
    "blocks"  # parts of this name hold one matrix a layer: the first axis is scanned over, and never split
)

Tree = TypeVar("Tree")


def device_mesh(devices: Sequence[Any] | None = None) -> Mesh | None:
    """All devices, see `hosts.devices`, or those that are given, in one axis; None where there is just one."""
    devices = hosts.devices() if devices is None else devices
    if len(devices) == 1:
        return None
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def use(mesh: Mesh | None) -> AbstractContextManager[object]:
    """Where programs are traced in which `gathered` and `split_batch` should take effect."""
    return nullcontext() if mesh is None else jax.set_mesh(mesh)


def parameter_spec(path: Sequence[object], shape: tuple[int, ...], count: int) -> PartitionSpec:
    """How a parameter of this path and shape is split over `count` devices.

    A matrix is split along its largest dimension that `count` divides, the later one of two equal ones; vectors,
    scalars and what cannot be divided stay whole. Optimizer states mirror the parameters and are split as they are.
    """
    first = 1 if STACKED in path else 0
    candidates = [(size, axis) for axis, size in enumerate(shape) if axis >= first and size % count == 0]
    if len(shape) - first < 2 or not candidates:
        return PartitionSpec()
    return PartitionSpec(*[None] * max(candidates)[1], AXIS)


def parameter_sharding(mesh: Mesh) -> Callable[[Sequence[object], tuple[int, ...]], Sharding]:
    """`parameter_spec` on a mesh, as a function of path and shape."""
    return lambda path, shape: NamedSharding(mesh, parameter_spec(path, shape, mesh.size))


def state_shardings(tree: Any, mesh: Mesh | None) -> Any:
    """Where each array (or shape) of parameters and optimizer state goes, as a tree of shardings."""
    if mesh is None:
        return jax.tree.map(lambda leaf: SingleDeviceSharding(jax.local_devices()[0]), tree)
    sharding = parameter_sharding(mesh)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: sharding(path_names(path), leaf.shape), tree)


def state_shapes(tree: Any, mesh: Mesh | None) -> Any:
    """The arrays of a tree as shapes that say where each goes: what a checkpoint is restored to."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        state_shardings(tree, mesh),
    )


def place_state(tree: Tree, mesh: Mesh | None) -> Tree:
    """Parameters and optimizer state where they belong: on one device a copy, on several they are moved."""
    if mesh is None:
        return jax.tree.map(jnp.copy, tree)
    return jax.tree.map(hosts.put, tree, state_shardings(tree, mesh))


def replicate(tree: Tree, mesh: Mesh | None) -> Tree:
    """The arrays of a tree whole on every device."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: hosts.put(leaf, NamedSharding(mesh, PartitionSpec())), tree)


def own_rows(size: int, mesh: Mesh | None) -> slice:
    """Which rows of a batch of `size` the devices of this process hold."""
    if mesh is None:
        return slice(0, size)
    held = NamedSharding(mesh, PartitionSpec(AXIS)).addressable_devices_indices_map((size,)).values()
    bounds = [index[0].indices(size) for index in held if index is not None]
    return slice(min(start for start, *_ in bounds), max(stop for _, stop, _ in bounds))


def place_batch(batch: Tree, mesh: Mesh | None) -> Tree:
    """Arrays of the host, split along their first axis over the devices. Every process gives its `own_rows`."""
    if mesh is None:
        return jax.device_put(batch)
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.tree.map(lambda array: jax.make_array_from_process_local_data(sharding, array), batch)


def gathered(tree: Tree) -> Tree:
    """Within a program: the parameters of a tree whole on every device, their gradients split again."""
    return jax.tree.map(lambda leaf: leaf if _mesh_size() == 1 else _gather(leaf), tree)


def gathered_but_layers(tree: Tree) -> Tree:
    """`gathered` without the stacked layers, each of which is gathered when it is its turn."""

    def gather(path: tuple, leaf: jax.Array) -> jax.Array:
        stacked = STACKED in path_names(path)
        return leaf if stacked or _mesh_size() == 1 else _gather(leaf)

    return jax.tree_util.tree_map_with_path(gather, tree)


def split_batch(tree: Tree, axis: int = 0) -> Tree:
    """Within a program: arrays split along the axis of their batch."""
    if _mesh_size() == 1:
        return tree
    spec = PartitionSpec(*[None] * axis, AXIS)
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, spec), tree)


@jax.custom_vjp
def _gather(leaf: jax.Array) -> jax.Array:
    return jax.lax.with_sharding_constraint(leaf, PartitionSpec())


def _gather_forwards(leaf: jax.Array) -> tuple[jax.Array, None]:
    return _gather(leaf), None


def _gather_backwards(_: None, gradient: jax.Array) -> tuple[jax.Array]:
    spec = parameter_spec((), gradient.shape, _mesh_size())
    return (jax.lax.with_sharding_constraint(gradient, spec),)


_gather.defvjp(_gather_forwards, _gather_backwards)


def _mesh_size() -> int:
    """Devices of the mesh that the program is traced for; 1 without one."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.size


def check_batch(batch: int, parts: int, mesh: Mesh | None) -> None:
    """See that every device gets equally many clips of every micro-batch.

    Raises:
        UserError: it cannot.
    """
    devices = 1 if mesh is None else mesh.size
    if batch % (parts * devices):
        raise UserError(
            f"optim.batch={batch} must be a multiple of optim.accumulate × devices = {parts} × {devices}"
        )


def path_names(path: tuple) -> tuple[object, ...]:
    """The names along a JAX tree path; None for what has no name."""
    return tuple(getattr(part, "key", getattr(part, "name", None)) for part in path)
