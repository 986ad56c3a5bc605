"""Opening a LeRobotDataset v3.0 folder: what is wrong with it is found, and said, before it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from envs.errors import UserError
from envs.files import inside
from envs.store import layout
from envs.store.video import check_video

REQUIRED_INFO = ("codebase_version", "fps", "features", "total_episodes", "total_frames", "data_path")
AGAIN = "download or record it again"


@dataclass(frozen=True)
class Metadata:
    """What `meta` says.

    info: `meta/info.json`; episodes: a row an episode, in order, no statistics; cameras: {name: feature}.
    """

    info: Mapping[str, Any]
    episodes: pa.Table
    cameras: Mapping[str, str]

    def numbers(self, column: str) -> np.ndarray:
        """A column of `episodes` as an array [episodes]."""
        return self.episodes.column(column).to_numpy()


def load_metadata(folder: Path) -> Metadata:
    """Read and check everything but the frames themselves.

    Raises:
        UserError: the folder is missing, empty, damaged or of another version, or files that it names are.
    """
    info = _load_info(folder)
    cameras = {
        key.removeprefix(layout.IMAGE_PREFIX).removeprefix("observation."): key
        for key, feature in info["features"].items()
        if feature["dtype"] in ("video", "image") and not _is_depth(feature)
    }
    metadata = Metadata(info, _load_episodes(folder, info), cameras)
    _check_data_files(folder, metadata)
    _check_video_files(folder, metadata)
    return metadata


def data_path(folder: Path, info: Mapping[str, Any], chunk: int, file: int) -> Path:
    """A data file. Raises a UserError if it is outside of the folder."""
    return _place(folder, info.get("data_path"), chunk_index=chunk, file_index=file)


def video_path(folder: Path, info: Mapping[str, Any], key: str, chunk: int, file: int) -> Path:
    """A video file. Raises a UserError if it is outside of the folder."""
    return _place(folder, info.get("video_path"), video_key=key, chunk_index=chunk, file_index=file)


def _place(folder: Path, template: Any, **names: object) -> Path:
    try:
        name = template.format(**names)
    except (LookupError, AttributeError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder / layout.INFO} has a path, {template!r}, that cannot be filled in ({error!r}); {AGAIN}"
        ) from error
    return inside(folder, name)


def open_parquet(path: Path) -> pq.ParquetFile:
    """A parquet file.

    Raises:
        UserError: it is missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"missing file {path}; {AGAIN}")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise broken_parquet(path, error) from error


def broken_parquet(path: Path, error: Exception) -> UserError:
    """What to say of a parquet file that cannot be read."""
    return UserError(f"{path} is not a whole parquet file ({str(error).splitlines()[0]}); {AGAIN}")


def load_tasks(folder: Path) -> dict[int, str]:
    """{task index: instruction} of `meta/tasks.parquet`."""
    path = folder / layout.TASKS
    table = open_parquet(path).read()
    texts = [of.name for of in table.schema if of.type in (pa.string(), pa.large_string())]
    if "task_index" not in table.column_names or not texts:
        raise UserError(f"{path} lacks the column task_index or the instructions; {AGAIN}")
    return dict(zip(table.column("task_index").to_pylist(), table.column(texts[0]).to_pylist(), strict=True))


def load_statistics(folder: Path) -> pa.Table:
    """The columns `stats/<feature>/<name>` of all episodes, in their order.

    Raises:
        UserError: there are none.
    """
    table = _read_episodes(folder, ("stats/",))
    if len(table.column_names) == 1:
        raise UserError(f"meta/episodes of {folder} has no statistics; record it again with LeRobot 0.4")
    return table.drop_columns("episode_index")


def _load_info(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise UserError(f"no such data set folder: {folder}")
    path = folder / layout.INFO
    if not path.is_file():
        raise UserError(
            f"{folder} is not a LeRobot data set: it has no {layout.INFO}; give the folder that holds `meta`"
        )
    try:
        info = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); {AGAIN}") from error
    missing = [name for name in REQUIRED_INFO if name not in info]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; {AGAIN}")
    _check_version(folder, str(info["codebase_version"]))
    if not info["total_episodes"]:
        raise UserError(f"the data set {folder} is empty; record or collect some episodes first")
    if layout.ACTION not in info["features"]:
        raise UserError(
            f"the data set {folder} has no feature {layout.ACTION!r}; a policy cannot be extracted from it"
        )
    return info


def _check_version(folder: Path, version: str) -> None:
    if version.startswith("v3."):
        return
    if version.startswith("v2."):
        raise UserError(
            f"{folder} is of version {version}, not {layout.VERSION}; convert it with LeRobot 0.4: "
            "`python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 "
            f"--repo-id={folder.name} --root={folder} --push-to-hub=false`"
        )
    raise UserError(
        f"{folder} is of version {version}, not {layout.VERSION}; write it again with LeRobot 0.4"
    )


def _is_depth(feature: Mapping[str, Any]) -> bool:
    return bool((feature.get("info") or {}).get("video.is_depth_map", False))


def _read_episodes(folder: Path, prefixes: tuple[str, ...], others: bool = False) -> pa.Table:
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
    return pa.concat_tables(tables, promote_options="permissive").sort_by("episode_index")


def _load_episodes(folder: Path, info: Mapping[str, Any]) -> pa.Table:
    table = _read_episodes(folder, ("stats/", "meta/"), others=True)
    _check_columns(folder, table, info)
    start, end = (table.column(f"dataset_{side}_index").to_numpy() for side in ("from", "to"))
    length = table.column("length").to_numpy()
    whole = len(table) == info["total_episodes"] and length.sum() == info["total_frames"] and length.min() > 0
    if not whole or start[0] != 0 or (end - start != length).any() or (start[1:] != end[:-1]).any():
        raise UserError(
            f"meta/episodes of {folder} describes {len(table)} episodes with {int(length.sum())} frames, "
            f"meta/info.json says {info['total_episodes']} with {info['total_frames']}; {AGAIN}"
        )
    return table


def _check_columns(folder: Path, table: pa.Table, info: Mapping[str, Any]) -> None:
    needed = ["episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index"]
    needed += ["data/chunk_index", "data/file_index"]
    for key, feature in info["features"].items():
        if feature["dtype"] == "video":
            needed += [
                f"videos/{key}/{name}"
                for name in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
            ]
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise UserError(f"meta/episodes of {folder} lacks the columns {', '.join(missing)}; {AGAIN}")


def _check_data_files(folder: Path, metadata: Metadata) -> None:
    chunk, file = (metadata.numbers(f"data/{name}_index") for name in ("chunk", "file"))
    length = metadata.numbers("length")
    for place in sorted(set(zip(chunk.tolist(), file.tolist(), strict=True))):
        path = data_path(folder, metadata.info, *place)
        parquet = open_parquet(path)
        expected = int(length[(chunk == place[0]) & (file == place[1])].sum())
        if parquet.metadata.num_rows != expected:
            raise UserError(
                f"{path} has {parquet.metadata.num_rows} frames, its episodes have {expected}; {AGAIN}"
            )
        missing = [
            key
            for key, feature in metadata.info["features"].items()
            if feature["dtype"] != "video" and key not in parquet.schema_arrow.names
        ]
        if missing:
            raise UserError(
                f"{path} lacks the columns {', '.join(missing)} that meta/info.json names; {AGAIN}"
            )


def _check_video_files(folder: Path, metadata: Metadata) -> None:
    for key in metadata.cameras.values():
        if metadata.info["features"][key]["dtype"] != "video":
            continue
        chunk, file = (metadata.numbers(f"videos/{key}/{name}_index") for name in ("chunk", "file"))
        end = metadata.numbers(f"videos/{key}/to_timestamp")
        for place in sorted(set(zip(chunk.tolist(), file.tolist(), strict=True))):
            path = video_path(folder, metadata.info, key, *place)
            needed = end[(chunk == place[0]) & (file == place[1])].max()
            check_video(path, float(needed), float(metadata.info["fps"]))
