"""What `meta` of a LeRobot data set says of its episodes, in version 3.0 or 2.x, as one kind of table.

    3.0   meta/episodes/*/*.parquet, meta/tasks.parquet; files hold many episodes
    2.x   meta/episodes.jsonl, meta/tasks.jsonl; a data file and a video file an episode

Source: huggingface/lerobot 0.4.4 and, for 2.1, 0.3.3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from envs.errors import UserError
from envs.files import inside
from envs.store import layout
from envs.store.parquet import AGAIN, broken_parquet, open_parquet
from envs.store.stats import Statistics


@dataclass(frozen=True)
class Footage:
    """Where one camera's pictures of one episode lie: from `start` to `end` seconds of a file."""

    path: Path
    start: float
    end: float


@runtime_checkable
class Layout(Protocol):
    """What a version says of the E episodes of a data set, in the order of their numbers."""

    episodes: pa.Table  # a row an episode, no statistics: episode_index, length, and what else there is

    def data_paths(self) -> tuple[list[Path], np.ndarray]:
        """The data files, and which of them an episode is said to lie in: int64 [E]."""
        ...

    def all_data_paths(self) -> list[Path]:
        """Every data file that there is, in their order."""
        ...

    def video_paths(self, feature: str) -> tuple[list[Path], np.ndarray, np.ndarray]:
        """The video files of a camera, which of them an episode lies in, int64 [E], and its end there, seconds [E]."""
        ...

    def footage(self, position: int, feature: str) -> Footage:
        """Where the pictures of a camera in an episode lie."""
        ...

    def tasks(self) -> dict[int, str]:
        """{task index: instruction}."""
        ...

    def statistics(self, position: int) -> Statistics:
        """{feature: {name: array}} of an episode.

        Raises:
            UserError: there are none.
        """
        ...


def numbers(table: pa.Table, column: str) -> np.ndarray:
    """A column of integers or times [E]."""
    return table.column(column).to_numpy()


class Version3:
    """Of version 3.0. Raises a UserError if it is damaged."""

    def __init__(self, folder: Path, info: Mapping[str, Any]) -> None:
        self.folder, self.info = folder, info
        self.episodes = read_episodes(folder, ("stats/", "meta/"), others=True)
        self._statistics: pa.Table | None = None
        needed = ["length", "data/chunk_index", "data/file_index"]
        for key, feature in info["features"].items():
            if feature["dtype"] == "video":
                names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
                needed += [f"videos/{key}/{name}" for name in names]
        missing = [name for name in needed if name not in self.episodes.column_names]
        if missing:
            raise UserError(f"meta/episodes of {folder} lacks the columns {', '.join(missing)}; {AGAIN}")

    def data_paths(self) -> tuple[list[Path], np.ndarray]:
        """See `Layout`."""
        names, which = self._files("data")
        return [place(self.folder, self.info, "data_path", **one) for one in names], which

    def all_data_paths(self) -> list[Path]:
        """See `Layout`."""
        return found(self.folder, str(self.info["data_path"]))

    def video_paths(self, feature: str) -> tuple[list[Path], np.ndarray, np.ndarray]:
        """See `Layout`."""
        names, which = self._files(f"videos/{feature}")
        paths = [place(self.folder, self.info, "video_path", video_key=feature, **one) for one in names]
        return paths, which, numbers(self.episodes, f"videos/{feature}/to_timestamp")

    def footage(self, position: int, feature: str) -> Footage:
        """See `Layout`."""
        names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        columns = [self.episodes.column(f"videos/{feature}/{name}") for name in names]
        chunk, file, start, end = (column[position].as_py() for column in columns)
        path = place(
            self.folder, self.info, "video_path", video_key=feature, chunk_index=chunk, file_index=file
        )
        return Footage(path, start, end)

    def tasks(self) -> dict[int, str]:
        """See `Layout`."""
        path = self.folder / layout.TASKS
        table = open_parquet(path).read()
        texts = [
            of.name for of in table.schema if pa.types.is_string(of.type) or pa.types.is_large_string(of.type)
        ]
        if "task_index" not in table.column_names or not texts:
            raise UserError(f"{path} lacks the column task_index or the instructions; {AGAIN}")
        return dict(
            zip(table.column("task_index").to_pylist(), table.column(texts[0]).to_pylist(), strict=True)
        )

    def statistics(self, position: int) -> Statistics:
        """See `Layout`."""
        table = self._statistics
        if table is None:
            table = self._statistics = read_episodes(self.folder, ("stats/",))
        if len(table.column_names) == 1:
            raise UserError(
                f"meta/episodes of {self.folder} has no statistics; record it again with LeRobot 0.4"
            )
        row = table.slice(position, 1).to_pylist()[0]
        statistics: Statistics = {}
        for column, value in row.items():
            if column != "episode_index":
                feature, name = column.removeprefix("stats/").rsplit("/", 1)
                statistics.setdefault(feature, {})[name] = np.array(value)
        return statistics

    def _files(self, kind: str) -> tuple[list[dict[str, int]], np.ndarray]:
        """The chunk and file numbers of all files of a kind, and which of them an episode is in, int64 [E]."""
        pairs = [numbers(self.episodes, f"{kind}/{name}_index") for name in ("chunk", "file")]
        places, which = np.unique(np.stack(pairs, axis=1), axis=0, return_inverse=True)
        return [
            {"chunk_index": int(chunk), "file_index": int(file)} for chunk, file in places
        ], which.reshape(-1)


class Version2:
    """Of version 2.0 or 2.1. Raises a UserError if it is damaged."""

    def __init__(self, folder: Path, info: Mapping[str, Any]) -> None:
        self.folder, self.info = folder, info
        self._statistics: dict[int, Any] | None = None
        rows = list(read_lines(folder / "meta/episodes.jsonl", ("episode_index", "length")))
        self.episodes = pa.Table.from_pylist(rows).sort_by("episode_index")
        self._chunk = int(info.get("chunks_size") or layout.CHUNK_FILES)

    def data_paths(self) -> tuple[list[Path], np.ndarray]:
        """See `Layout`."""
        names = [self._names(position) for position in range(len(self.episodes))]
        paths = [place(self.folder, self.info, "data_path", **one) for one in names]
        return paths, np.arange(len(paths))

    def all_data_paths(self) -> list[Path]:
        """See `Layout`."""
        return found(self.folder, str(self.info["data_path"]))

    def video_paths(self, feature: str) -> tuple[list[Path], np.ndarray, np.ndarray]:
        """See `Layout`."""
        footage = [self.footage(position, feature) for position in range(len(self.episodes))]
        ends = np.array([part.end for part in footage])
        return [part.path for part in footage], np.arange(len(footage)), ends

    def footage(self, position: int, feature: str) -> Footage:
        """See `Layout`."""
        path = place(self.folder, self.info, "video_path", video_key=feature, **self._names(position))
        length = self.episodes.column("length")[position].as_py()
        return Footage(path, 0.0, length / float(self.info["fps"]))

    def tasks(self) -> dict[int, str]:
        """See `Layout`."""
        lines = read_lines(self.folder / "meta/tasks.jsonl", ("task_index", "task"))
        return {int(line["task_index"]): str(line["task"]) for line in lines}

    def statistics(self, position: int) -> Statistics:
        """See `Layout`; version 2.0 has none of single episodes."""
        if self._statistics is None:
            lines = read_lines(self.folder / "meta/episodes_stats.jsonl", ("episode_index", "stats"))
            self._statistics = {line["episode_index"]: line["stats"] for line in lines}
        number = self.episodes.column("episode_index")[position].as_py()
        if number not in self._statistics:
            raise UserError(f"meta/episodes_stats.jsonl of {self.folder} lacks episode {number}; {AGAIN}")
        stats = self._statistics[number]
        return {
            feature: {name: np.array(value) for name, value in of.items()} for feature, of in stats.items()
        }

    def _names(self, position: int) -> dict[str, int]:
        number = self.episodes.column("episode_index")[position].as_py()
        return {"episode_chunk": number // self._chunk, "episode_index": number}


def place(folder: Path, info: Mapping[str, Any], template: str, **names: object) -> Path:
    """A file that a template of `info.json` names.

    Raises:
        UserError: the template cannot be filled in, or the file is outside of the folder.
    """
    text = info.get(template)
    try:
        name = text.format(**names)  # type: ignore[union-attr]
    except (LookupError, AttributeError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder / layout.INFO} has a path, {text!r}, that cannot be filled in ({error!r}); {AGAIN}"
        ) from error
    return inside(folder, name)


def found(folder: Path, template: str) -> list[Path]:
    """The files of a folder that a template could name, in their order."""
    parts = [part if "{" not in part else "*" for part in template.split("/")]
    return [inside(folder, str(path.relative_to(folder))) for path in sorted(folder.glob("/".join(parts)))]


def read_episodes(folder: Path, prefixes: tuple[str, ...], others: bool = False) -> pa.Table:
    """Columns of meta/episodes with, or without, one of the prefixes, sorted by episode_index."""
    paths = sorted((folder / "meta/episodes").glob("*/*.parquet"))
    if not paths:
        raise UserError(f"{folder} has no parquet file in meta/episodes; {AGAIN}")
    tables = []
    for path in paths:
        file = open_parquet(path)
        names = file.schema_arrow.names
        if "episode_index" not in names:
            raise UserError(f"{path} has no column episode_index; {AGAIN}")
        wanted = [name for name in names if name.startswith(prefixes) != others or name == "episode_index"]
        try:
            tables.append(file.read(wanted).replace_schema_metadata(None))
        except (pa.ArrowInvalid, OSError) as error:
            raise broken_parquet(path, error) from error
    table = pa.concat_tables(tables, promote_options="permissive")
    return table.sort_by("episode_index").combine_chunks()


def read_lines(path: Path, keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, which have these keys.

    Raises:
        UserError: it is missing or damaged, or one lacks a key.
    """
    if not path.is_file():
        raise UserError(f"missing file {path}; {AGAIN}")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON in line {number} ({error}); {AGAIN}") from error
        missing = [key for key in keys if key not in content]
        if missing:
            raise UserError(f"{path} lacks {', '.join(missing)} in line {number}; {AGAIN}")
        yield content
