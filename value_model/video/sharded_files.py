"""A large model's arrays in several safetensors files with an index, one file in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from envs.files import atomic_file, save_arrays
from value_model.video import hosts

FILE_BYTES = 4 << 30


def save_sharded(folder: Path, stem: str, arrays: Mapping[str, jax.Array], limit: int = FILE_BYTES) -> None:
    """Write arrays as `<stem>-00001-of-00003.safetensors` and so on, then `<stem>.safetensors.index.json`.

    Arrays that are split over devices, or over hosts, are gathered one at a time; the first host writes.
    """
    groups: list[list[str]] = [[]]
    held = 0
    for name, array in arrays.items():
        if groups[-1] and held + array.nbytes > limit:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += array.nbytes
    files = {
        f"{stem}-{number:05d}-of-{len(groups):05d}.safetensors": names
        for number, names in enumerate(groups, start=1)
    }
    for file, names in files.items():
        whole = {name: hosts.whole(arrays[name]) for name in names}
        if hosts.writes():
            save_arrays(folder / file, whole)
    if hosts.writes():
        places = {name: file for file, names in files.items() for name in names}
        with atomic_file(folder / f"{stem}.safetensors.index.json") as temporary:
            temporary.write_text(json.dumps({"metadata": {}, "weight_map": places}, indent=1))


def place_array(
    shape: tuple[int, ...],
    read: Callable[[tuple[slice, ...]], np.ndarray],
    sharding: Sharding | None,
) -> jax.Array:
    """An array of which `read(index)` gives a part; only the parts of this host's devices are read.

    Args:
        sharding: where the parts go; None: all of it to the default device.
    """
    everything = (slice(None),) * len(shape)
    if sharding is None:
        return jnp.asarray(read(everything))
    return jax.make_array_from_callback(shape, sharding, lambda index: read(index or everything))
