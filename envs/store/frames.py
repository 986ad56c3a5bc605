"""The rows of an episode, a frame each, as a table, and the data files that hold them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from envs.errors import UserError
from envs.store import layout
from envs.types import Episode

MEGABYTE = 1024**2
_NUMBERS = ("proprio", "actions", "rewards", "environment_state")


class DataWriter:
    """The data files of a store: one row group an episode, a new file when one has grown to `megabytes`."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self._folder, self._limit = folder, megabytes * MEGABYTE
        self._number = -1
        self._writer: pq.ParquetWriter | None = None
        self._path = folder

    def add(self, table: pa.Table) -> dict[str, int]:
        """Write the rows of one episode; which file they went to."""
        if self._writer is None or self._path.stat().st_size >= self._limit:
            self.close()
            self._number += 1
            self._path = layout.file_path(self._folder, layout.DATA, self._number)
            self._writer = pq.ParquetWriter(self._path, table.schema)
        assert self._writer is not None
        self._writer.write_table(table)
        return {f"data/{name}": number for name, number in layout.chunk_and_file(self._number).items()}

    def close(self) -> None:
        """Close the open file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def frame_columns(
    episode: Episode, index: int, first_frame: int, task_index: np.ndarray
) -> dict[str, np.ndarray]:
    """The columns of the data file, [T] or [T, D], of the `index`-th episode of a store, of which each frame has a task."""
    length, last = len(episode), np.arange(len(episode)) == len(episode) - 1
    columns = {
        layout.PROPRIO: episode.proprio,
        layout.ACTION: episode.actions,
        layout.ENVIRONMENT_STATE: episode.environment_state,
        layout.REWARD: episode.rewards,
        layout.DONE: last,
        layout.SUCCESS: last & (episode.success is True),
        "timestamp": (np.arange(length) / episode.fps).astype(np.float32),
        "frame_index": np.arange(length),
        "episode_index": np.full(length, index),
        "index": first_frame + np.arange(length),
        "task_index": task_index,
    }
    return {name: columns[name] for name in layout.number_features(episode)}


def frame_table(columns: dict[str, np.ndarray], episode: Episode) -> pa.Table:
    """Columns [T], or fixed lists [T, D], of the types that `info.json` names."""
    fields = {}
    for name, (kind, size) in layout.number_features(episode).items():
        flat = pa.array(np.ascontiguousarray(columns[name]).reshape(-1).astype(kind))
        fields[name] = flat if size == 1 else pa.FixedSizeListArray.from_arrays(flat, size)
    return pa.table(fields)


def own_columns(episode: Episode) -> dict[str, Any]:
    """The values of `store_layout.OWN_COLUMNS`."""
    return {
        "success": episode.success,
        "style": episode.style,
        "segments": [asdict(segment) for segment in episode.segments],
        "seed": episode.seed,
        "robot": episode.robot,
        "task_name": episode.task,
        "masks": list(episode.masks),
    }


def check_episode(episode: Episode) -> None:
    """Refuse an episode that cannot be stored.

    Raises:
        UserError: it has no frames, its arrays differ in length, a number is NaN (a reward may be: unknown) or
            infinite, pictures are not uint8 [T, H, W, 3], or a camera's name has a slash in it.
    """
    length = len(episode)
    if not length:
        raise UserError("an episode without frames cannot be stored; leave it out")
    for camera, frames in episode.images.items():
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise UserError(
                f"camera {camera} gives {frames.dtype} {list(frames.shape)}; it must be uint8 [T, H, W, 3]"
            )
        if "/" in camera:
            raise UserError(
                f"the camera name {camera!r} has a slash in it; LeRobot's format does not allow that"
            )
    numbers = {name: getattr(episode, name) for name in _NUMBERS}
    for name, array in {**numbers, **episode.images}.items():
        if len(array) != length:
            raise UserError(
                f"{name} has {len(array)} frames but actions have {length}; give both the same number"
            )
    for name, array in numbers.items():
        if not (np.isfinite(array) | (np.isnan(array) & (name == "rewards"))).all():
            raise UserError(
                f"{name} of the episode with seed {episode.seed} is NaN or infinite; leave it out"
            )


def outline(episode: Episode) -> Episode:
    """The episode with its first frame only, to compare the others with."""
    numbers = {name: getattr(episode, name) for name in _NUMBERS}
    images = {camera: frames[:1].copy() for camera, frames in episode.images.items()}
    return replace(episode, images=images, **{name: array[:1].copy() for name, array in numbers.items()})


def check_alike(first: Episode, episode: Episode) -> None:
    """Refuse an episode that does not fit with the first of its store.

    Raises:
        UserError: its cameras, shapes or rate are others.
    """
    expected, found = _shapes(first), _shapes(episode)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise UserError(
                f"{name} is {found.get(name)} in this episode but {expected.get(name)} in the first; "
                "put them into separate stores"
            )


def _shapes(episode: Episode) -> dict[str, object]:
    cameras = {f"camera {camera}": frames.shape[1:] for camera, frames in episode.images.items()}
    return {
        **cameras,
        "proprio": episode.proprio.shape[1:],
        "actions": episode.actions.shape[1:],
        "environment_state": episode.environment_state.shape[1:],
        "fps": episode.fps,
    }
