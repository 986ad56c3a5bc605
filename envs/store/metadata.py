"""The `meta` folder of a store being written: a row an episode, the tasks, the statistics, `info.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from envs.store import layout
from envs.store.stats import Statistics, combine, to_json

ROWS_PER_GROUP = 20


class MetadataWriter:
    """Collects what describes the episodes of a store; memory does not grow with their number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.episodes = 0
        self.frames = 0
        self.tasks: dict[str, int] = {}
        self._statistics: Statistics | None = None
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def task_index(self, instruction: str) -> int:
        """The number of an instruction; a new one gets the next."""
        return self.tasks.setdefault(instruction, len(self.tasks))

    def add(
        self,
        length: int,
        instructions: list[str],
        places: Mapping[str, int | float],
        own: Mapping[str, Any],
        statistics: Statistics,
    ) -> None:
        """One more episode.

        `places`: chunk, file and times of its data and videos; `own`: values of `store_layout.OWN_COLUMNS`.
        """
        self._statistics = combine(self._statistics, statistics)
        row: dict[str, Any] = {
            "episode_index": self.episodes,
            "tasks": instructions,
            "length": length,
            **places,
        }
        row |= {"dataset_from_index": self.frames, "dataset_to_index": self.frames + length}
        row |= {f"meta/episodes/{name}": number for name, number in layout.chunk_and_file(0).items()}
        row |= own
        for feature, of in statistics.items():
            row |= {f"stats/{feature}/{name}": np.asarray(value).tolist() for name, value in of.items()}
        self._rows.append(row)
        self.episodes += 1
        self.frames += length
        if len(self._rows) == ROWS_PER_GROUP:
            self._flush()

    def finish(self, features: Mapping[str, Any], robot: str, fps: float, sizes: tuple[int, int]) -> None:
        """Write everything and close the files."""
        assert self._statistics is not None, "a store has at least one episode"
        self._flush()
        assert self._writer is not None
        self._writer.close()
        pq.write_table(_tasks_table(self.tasks), self.folder / layout.TASKS)
        info = layout.make_info(features, robot, fps, self.episodes, self.frames, len(self.tasks), sizes)
        (self.folder / layout.INFO).write_text(json.dumps(info, indent=4, ensure_ascii=False))
        (self.folder / layout.STATS).write_text(json.dumps(to_json(self._statistics), indent=4))

    def discard(self) -> None:
        """Let go of the open file."""
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            path = layout.file_path(self.folder, layout.EPISODES, 0)
            self._writer = pq.ParquetWriter(path, _episodes_schema(self._rows[0]))
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._writer.schema))
        self._rows.clear()


def _episodes_schema(row: Mapping[str, Any]) -> pa.Schema:
    """Types of the columns: fixed for ours, of the values for LeRobot's."""
    return pa.schema(
        [(name, layout.OWN_COLUMNS.get(name) or pa.array([value]).type) for name, value in row.items()]
    )


def _tasks_table(tasks: Mapping[str, int]) -> pa.Table:
    """The table that pandas reads as a frame with the instructions as its index."""
    pandas = {
        "index_columns": ["__index_level_0__"],
        "column_indexes": [],
        "columns": [
            _pandas_column("task_index", "task_index", "int64", "int64"),
            _pandas_column(None, "__index_level_0__", "unicode", "object"),
        ],
        "pandas_version": "2.2.0",
    }
    columns = {
        "task_index": pa.array(list(tasks.values()), pa.int64()),
        "__index_level_0__": pa.array(list(tasks), pa.string()),
    }
    return pa.table(columns).replace_schema_metadata({"pandas": json.dumps(pandas)})


def _pandas_column(name: str | None, field: str, pandas_type: str, numpy_type: str) -> dict[str, str | None]:
    return {
        "name": name,
        "field_name": field,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }


def sync_folder(folder: Path) -> None:
    """Wait until every file of a folder is on the disk."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
