"""Several stores into one, without touching a pixel: videos are taken as they are, rows are renumbered."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from envs.errors import UserError
from envs.files import atomic_folder
from envs.store import layout
from envs.store.frames import DataWriter
from envs.store.metadata import MetadataWriter, sync_folder
from envs.store.open import load_statistics, load_tasks, video_path
from envs.store.reader import Store, open_store
from envs.store.stats import Statistics
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
        self._instructions = load_tasks(store.folder)
        self._statistics = load_statistics(store.folder)
        self._columns = [name for name, of in store.info["features"].items() if of["dtype"] != "video"]

    def copy(self, episode: int, metadata: MetadataWriter, data: DataWriter, videos: _Videos) -> None:
        """Append episode `episode`."""
        row = self.store.row(episode)
        table = self._renumbered(self.store.table(episode, self._columns), metadata)
        places: dict[str, int | float] = dict(data.add(table))
        for key, feature in self.store.info["features"].items():
            if feature["dtype"] == "video":
                places |= self._place(row, key, videos)
        own = {name: row.get(name) for name in layout.OWN_COLUMNS}
        own["success"] = self.store.episode_info(episode).success
        metadata.add(len(table), row["tasks"], places, own, self._episode_statistics(episode))

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

    def _place(self, row: dict[str, Any], key: str, videos: _Videos) -> dict[str, int | float]:
        old = (row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"])
        new = videos.place(key, video_path(self.store.folder, self.store.info, key, *old))
        times = {name: row[f"videos/{key}/{name}"] for name in ("from_timestamp", "to_timestamp")}
        return {f"videos/{key}/{name}": value for name, value in (new | times).items()}

    def _episode_statistics(self, episode: int) -> Statistics:
        statistics: Statistics = {}
        for column, value in self._statistics.slice(episode, 1).to_pylist()[0].items():
            feature, name = column.removeprefix("stats/").rsplit("/", 1)
            statistics.setdefault(feature, {})[name] = np.array(value)
        return statistics


def _check_alike(first: Store, other: Store) -> None:
    if first.fps != other.fps:
        raise UserError(f"{other.folder} has {other.fps:g} frames a second, {first.folder} {first.fps:g}")
    ours, theirs = _features(first), _features(other)
    if ours != theirs:
        different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        raise UserError(f"{other.folder} and {first.folder} differ in the features {', '.join(different)}")


def _features(store: Store) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (of["dtype"], tuple(of["shape"])) for name, of in store.info["features"].items()}
