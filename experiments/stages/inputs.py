"""Stage `features`: what a policy's network reads, computed once for all methods that train it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from envs.files import atomic_file
from envs.store import Store
from envs.types import Observation
from experiments.lab.artifacts import Artifact, Artifacts
from experiments.lab.progress import announce, bar
from experiments.stages.data import Data
from policy_extraction.augment import shifted
from policy_extraction.dataset import Dataset
from policy_extraction.types import Policy, PolicySpec
from value_model.video.frames import resize

VERSION = 1
RAW = "images."  # inputs of this name are pictures themselves: whoever trains on them shifts them


def make_inputs(
    artifacts: Artifacts,
    data: Data,
    dataset: Dataset,
    make_policy: Callable[[], Policy],
    origin: str,
    variants: int,
) -> tuple[Artifact, dict[str, np.ndarray]]:
    """`Policy.preprocess` of every sample's observation, under its instruction: {name: [V, N, ...]}, on disk.

    V is `variants`, the first of them unshifted; 1 where the policy reads the pictures themselves.

    Args:
        origin: digest of the policy's first weights and configuration.
    """

    def build(folder: Path) -> None:
        policy = make_policy()
        with bar("features", len(dataset) * variants, "frames") as shown:
            arrays: dict[str, np.ndarray] = {}
            store = data.open()
            for index in np.unique(dataset.episode):
                rows = np.flatnonzero(dataset.episode == index)
                observation = observed(store, int(index), dataset, rows, policy.spec)
                for variant in range(variants):
                    seen = shifted(observation, (variant, int(index))) if variant else observation
                    read = policy.preprocess(seen)
                    if variant and any(name.startswith(RAW) for name in read):
                        break
                    _write(folder, arrays, read, variant, rows, (variants, len(dataset)))
                    shown.update(len(rows))
            for array in arrays.values():
                array.flush()  # type: ignore[attr-defined]
        names = {name: f"{number}.npy" for number, name in enumerate(arrays)}
        with atomic_file(folder / "names.json") as temporary:
            temporary.write_text(json.dumps(names, indent=1))

    samples = _rows_digest(dataset)
    recipe = {"variants": variants, "samples": samples}
    made = announce(
        artifacts.make("features", VERSION, recipe, {"data": data.digest, "policy": origin}, build)
    )
    names = json.loads((made.folder / "names.json").read_text())
    return made, {name: np.load(made.folder / file, mmap_mode="r") for name, file in names.items()}


def observed(store: Store, index: int, dataset: Dataset, rows: np.ndarray, spec: PolicySpec) -> Observation:
    """What the policy saw at these samples of one episode, told their instructions."""
    size, frames = spec.image_size, dataset.frame[rows]
    proprio = store.episode(index, cameras=()).proprio[frames]
    images = {name: resize(store.frames(index, name)[frames], size, size) for name in spec.cameras}
    return Observation(images, proprio, tuple(str(text) for text in dataset.instruction[rows]))


def _write(
    folder: Path,
    arrays: dict[str, np.ndarray],
    read: Mapping[str, np.ndarray],
    variant: int,
    rows: np.ndarray,
    shape: tuple[int, int],
) -> None:
    """Put one episode's inputs in their place; the files are made with all their room at the first call."""
    raw = any(name.startswith(RAW) for name in read)
    for number, (name, values) in enumerate(read.items()):
        if name not in arrays:
            whole = (1 if raw else shape[0], shape[1], *values.shape[1:])
            arrays[name] = _reserve(folder / f"{number}.npy", whole, values.dtype)
        arrays[name][variant, rows] = values


def _reserve(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A new array file, mapped into memory; its room is taken now, so that a full disk says so here."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return array


def _rows_digest(dataset: Dataset) -> str:
    """Stands for which frames are read under which instructions."""
    total = hashlib.sha256()
    for column in (dataset.episode, dataset.frame):
        total.update(np.ascontiguousarray(column, np.int64).tobytes())
    total.update("\0".join(dataset.instruction.tolist()).encode())
    return total.hexdigest()[:16]
