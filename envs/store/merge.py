"""Several stores into one, without touching a pixel: videos are taken as they are, rows are renumbered."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from envs.errors import UserError
from envs.files import atomic_folder
from envs.store import layout
from envs.store.frames import DataWriter
from envs.store.metadata import MetadataWriter, sync_folder
from envs.store.reader import Store, open_store
from envs.store.writer import refuse_existing

SIZES = (100, 200)  # MB of the largest data and video files, LeRobot's defaults


def merge_stores(parts: Sequence[Path], folder: Path, order: Sequence[tuple[int, int]] | None = None) -> Path:
    """One store of the episodes of several; the parts stay as they are.

    Args:
        parts: folders of stores with the same features and rate.
        folder: where the new store goes; does not exist yet, or is empty.
        order: (part, episode of that part) of each episode of the new store; default: part after part.

    Raises:
        UserError: a part does not open or differs from the first, nothing is to merge, the disk is full.
    """
    if not parts:
        raise UserError("nothing to merge; give at least one store")
    refuse_existing(folder)
    sources = [_Source(open_store(part)) for part in parts]
    for source in sources[1:]:
        _check_alike(sources[0].store, source.store)
    if order is None:
        order = [(part, n) for part, source in enumerate(sources) for n in range(len(source.store))]
    if not order:
        raise UserError("nothing to merge; the order names no episode")
    with atomic_folder(folder) as partial:
        metadata, data = MetadataWriter(partial), DataWriter(partial, SIZES[0])
        videos = _Videos(partial)
        for part, episode in order:
            sources[part].copy(episode, metadata, data, videos)
        data.close()
        first = sources[0].store
        robots = {str(source.store.info.get("robot_type")) for source in sources}
        robot = robots.pop() if len(robots) == 1 else "mixed"
        metadata.finish(first.info["features"], robot, first.fps, SIZES)
        sync_folder(partial)
    return folder


class _Videos:
    """Copies each video file that is needed once; hard links where the disk allows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers: dict[str, dict[Path, int]] = {}

    def place(self, key: str, source: Path) -> dict[str, int]:
        """The chunk and file numbers of a video file in the new store."""
        numbers = self._numbers.setdefault(key, {})
        if source not in numbers:
            numbers[source] = len(numbers)
            target = layout.file_path(self._folder, layout.VIDEO, numbers[source], video_key=key)
            try:
                os.link(source, target)
            except OSError:  # another disk, or one without links
                shutil.copyfile(source, target)
        return layout.chunk_and_file(numbers[source])


class _Source:
    """A store whose episodes are copied into another."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._instructions = store.tasks
        self._columns = [name for name, of in store.info["features"].items() if of["dtype"] != "video"]

    def copy(self, episode: int, metadata: MetadataWriter, data: DataWriter, videos: _Videos) -> None:
        """Append episode `episode`."""
        row = self.store.row(episode)
        table = self._renumbered(self.store.table(episode, self._columns), metadata)
        places: dict[str, int | float] = dict(data.add(table))
        for key, feature in self.store.info["features"].items():
            if feature["dtype"] == "video":
                places |= self._place(episode, key, videos)
        own = {name: row.get(name) for name in layout.OWN_COLUMNS}
        info = self.store.episode_info(episode)
        own["success"] = info.success
        told = list(dict.fromkeys(text for _, text in info.instructions))
        statistics = self.store.layout.statistics(self.store.position(episode))
        metadata.add(len(table), told, places, own, statistics)

    def _renumbered(self, table: pa.Table, metadata: MetadataWriter) -> pa.Table:
        """The rows as they stand in the new store."""
        tasks = [metadata.task_index(self._instructions[n]) for n in table.column("task_index").to_pylist()]
        columns = {
            "episode_index": np.full(len(table), metadata.episodes),
            "index": metadata.frames + np.arange(len(table)),
            "task_index": np.array(tasks),
        }
        for name, values in columns.items():
            table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.int64()))
        return table.replace_schema_metadata(None)

    def _place(self, episode: int, key: str, videos: _Videos) -> dict[str, int | float]:
        footage = self.store.layout.footage(self.store.position(episode), key)
        times = {"from_timestamp": footage.start, "to_timestamp": footage.end}
        new = videos.place(key, footage.path) | times
        return {f"videos/{key}/{name}": value for name, value in new.items()}


def _check_alike(first: Store, other: Store) -> None:
    if first.fps != other.fps:
        raise UserError(f"{other.folder} has {other.fps:g} frames a second, {first.folder} {first.fps:g}")
    ours, theirs = _features(first), _features(other)
    if ours != theirs:
        different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        raise UserError(f"{other.folder} and {first.folder} differ in the features {', '.join(different)}")


def _features(store: Store) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (of["dtype"], tuple(of["shape"])) for name, of in store.info["features"].items()}
