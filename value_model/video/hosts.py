"""Several hosts as one: whose devices a program uses, and what one host alone makes for all.

A process that `jax.distributed` has joined to others works by itself until it is `together` with them. Then all of them go
through the same lines in the same order, each on its own host: `device_mesh` is of all their devices, and what needs no mesh
is done by the first of them, which tells the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

Tree = TypeVar("Tree")

PATIENCE = (
    30 * 24 * 3600
)  # seconds that hosts wait for one another; one that dies is noticed by its heartbeat
_JOINED: ContextVar[bool] = ContextVar("joined", default=False)
_meetings = count()


@contextmanager
def together(yes: bool = True) -> Iterator[None]:
    """A block that all hosts go through at the same time; with `yes=False` one within it that this host is alone in."""
    token = _JOINED.set(yes)
    try:
        yield
    finally:
        _JOINED.reset(token)


def joined() -> bool:
    """Whether this is one of several processes that are together now."""
    return _JOINED.get() and jax.process_count() > 1


def devices() -> list[Any]:
    """Those of all hosts while they are together, else this one's."""
    return jax.devices() if joined() else jax.local_devices()


def apart() -> bool:
    """Whether there are other processes, and this one works by itself now."""
    return not _JOINED.get() and jax.process_count() > 1


def share() -> tuple[int, int]:
    """Which of how many this process is: (0, 1) without any others."""
    return (jax.process_index(), jax.process_count()) if joined() else (0, 1)


def writes() -> bool:
    """Whether this process is the one that writes what all of them have."""
    return not joined() or jax.process_index() == 0


def meet() -> None:
    """Wait until all hosts are here. Without any others, go on."""
    if joined():
        ocp.multihost.sync_global_processes(f"meeting {next(_meetings)}", timeout=PATIENCE)


def by_first(make: Callable[[], Tree], like: Callable[[], Tree]) -> Tree:
    """What the first host makes, on every host; it is alone meanwhile. Without any others, what `make` gives.

    Args:
        like: gives arrays of the same shapes and types, to those who wait.
    """
    if not joined():
        return make()
    with together(yes=False):
        made = make() if jax.process_index() == 0 else like()
    meet()
    return jax.tree.map(jnp.asarray, multihost_utils.broadcast_one_to_all(made))


def at_home(tree: Tree) -> Tree:
    """Arrays that lie in parts on the devices of all hosts, whole on this one; without any others, as they are."""
    if not joined():
        return tree
    return jax.tree.map(lambda array: jnp.asarray(whole(array)), tree)


def whole(array: jax.Array) -> np.ndarray:
    """An array in this host's memory, wherever its parts lie. All hosts ask for it."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def checkpointing() -> ocp.options.MultiprocessingOptions:
    """Who takes part in writing checkpoints: all hosts while they are together, else this one."""
    if not apart():
        return ocp.options.MultiprocessingOptions()
    own = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"host {own}"
    )


def put(array: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """An array where it belongs; of one that every host has, each gives the parts of its own devices."""
    if sharding.is_fully_addressable or not getattr(array, "is_fully_addressable", True):
        return jax.device_put(array, sharding)
    own = np.asarray(array)
    return jax.make_array_from_callback(own.shape, sharding, lambda index: own[index])
