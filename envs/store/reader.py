"""Reading a LeRobotDataset v3.0 folder, ours or anyone's, one episode at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from envs.errors import UserError
from envs.files import inside
from envs.outcomes import paid_outcome, tell_only_success
from envs.store import layout
from envs.store.open import Metadata, broken_parquet, data_path, load_metadata, open_parquet, video_path
from envs.store.video import decode
from envs.types import Episode, Segment


@dataclass(frozen=True)
class EpisodeInfo:
    """What is known of an episode without reading its frames.

    start: index of its first frame in the whole store; success: whether it solved the task, None where that was
    not recorded (see `Store.episode_info`); seed: -1 where it is not known; style, task and robot: "unknown".
    """

    index: int
    start: int
    length: int
    instruction: str
    task: str
    robot: str
    seed: int
    style: str
    success: bool | None
    segments: tuple[Segment, ...]


class Store:
    """A LeRobotDataset v3.0 folder that `open_store` has checked. `len(store)` is its number of episodes."""

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        self.folder = folder
        self.info = metadata.info
        self._metadata = metadata
        self._data = _DataReader()

    @property
    def fps(self) -> float:
        """Frames a second."""
        return float(self.info["fps"])

    @property
    def total_frames(self) -> int:
        """Frames of all episodes together."""
        return int(self.info["total_frames"])

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, sorted."""
        return tuple(sorted(self._metadata.cameras))

    def __len__(self) -> int:
        return len(self._metadata.episodes)

    def __iter__(self) -> Iterator[Episode]:
        return (self.episode(index) for index in range(len(self)))

    def episode_info(self, index: int) -> EpisodeInfo:
        """What is known of episode `index` without reading its pictures.

        Its outcome is taken from the first of these that the data set has: a column `success` in meta/episodes (null
        is unknown); frames marked `next.success`; and `next.reward`, where all rewards of the data set are 0 or one
        positive number and some episode is paid at its end (see `envs.outcomes.paid_outcome`). Rewards that say more
        (distances, progress) or are 0 throughout do not tell an outcome.

        Raises:
            UserError: the column `success` holds something else than true, false and null; see `table`.
        """
        row = self.row(index)
        return EpisodeInfo(
            index=index,
            start=row["dataset_from_index"],
            length=row["length"],
            instruction=row["tasks"][0] if row["tasks"] else "",
            task=row.get("task_name") or "unknown",
            robot=row.get("robot") or self.info.get("robot_type") or "unknown",
            seed=-1 if row.get("seed") is None else row["seed"],
            style=row.get("style") or "unknown",
            success=self._success(index, row),
            segments=tuple(Segment(**segment) for segment in row.get("segments") or ()),
        )

    def episode(self, index: int, cameras: Sequence[str] | None = None) -> Episode:
        """Episode `index`, with the frames of `cameras` (default: all; none is much faster).

        Rewards are those that were recorded. Where none were, a known outcome pays 1 or 0 at the last frame and 0
        before, and an unknown one NaN throughout.

        Raises:
            UserError: its files are damaged, or it holds infinite values, or NaN elsewhere than in its rewards.
        """
        info = self.episode_info(index)
        features = self.info["features"]
        names = [layout.PROPRIO, layout.ACTION, layout.ENVIRONMENT_STATE, layout.REWARD]
        table = self.table(index, [name for name in names if name in features])
        numbers = {name: self._finite(table, name, index) for name in table.column_names}
        nothing = np.zeros((info.length, 0), np.float32)
        return Episode(
            images={
                camera: self.frames(index, camera)
                for camera in (self.cameras if cameras is None else cameras)
            },
            proprio=numbers.get(layout.PROPRIO, nothing),
            actions=numbers[layout.ACTION],
            rewards=numbers[layout.REWARD][:, 0] if layout.REWARD in numbers else _unrecorded_rewards(info),
            environment_state=numbers.get(layout.ENVIRONMENT_STATE, nothing),
            success=info.success,
            task=info.task,
            instruction=info.instruction,
            robot=info.robot,
            seed=info.seed,
            fps=self.fps,
            style=info.style,
            segments=info.segments,
        )

    def frames(self, index: int, camera: str) -> np.ndarray:
        """The frames of one camera in episode `index`: uint8 [T, H, W, 3].

        Raises:
            UserError: there is no such camera, or its files are damaged.
        """
        key = self.camera_key(camera)
        if self.info["features"][key]["dtype"] == "image":
            return self._images(index, key)
        row = self.row(index)
        place = (row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"])
        path = video_path(self.folder, self.info, key, *place)
        return decode(path, row[f"videos/{key}/from_timestamp"], row["length"], self.fps)

    def camera_key(self, camera: str) -> str:
        """The feature of `meta/info.json` that a camera's frames are.

        Raises:
            UserError: there is no such camera.
        """
        if camera not in self._metadata.cameras:
            raise UserError(
                f"{self.folder} has no camera {camera!r}; it has {', '.join(self.cameras) or 'none'}"
            )
        return self._metadata.cameras[camera]

    def row(self, index: int) -> dict[str, Any]:
        """The row of episode `index` in meta/episodes, without statistics."""
        if not 0 <= index < len(self):
            raise IndexError(f"episode {index} of {len(self)}")
        return self._metadata.episodes.slice(index, 1).to_pylist()[0]

    def table(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Columns of the data files: the rows of episode `index`."""
        row = self.row(index)
        chunk, file = row["data/chunk_index"], row["data/file_index"]
        numbers = self._metadata.numbers
        inside = (numbers("data/chunk_index") == chunk) & (numbers("data/file_index") == file)
        first = row["dataset_from_index"] - int(numbers("dataset_from_index")[inside].min())
        path = data_path(self.folder, self.info, chunk, file)
        table = self._data.read(path, first, row["length"], sorted({"episode_index", *columns}))
        if (table.column("episode_index").to_numpy() != index).any():
            raise UserError(
                f"{path} does not hold the frames of episode {index} where meta/episodes says; write it again"
            )
        return table.select(list(columns))

    def _finite(self, table: pa.Table, name: str, index: int) -> np.ndarray:
        values = _numbers(table, name)
        wrong = np.isinf(values) if name == layout.REWARD else ~np.isfinite(values)
        if wrong.any():
            frame = int(np.argwhere(wrong)[0, 0])
            raise UserError(
                f"{name} of episode {index} in {self.folder} is not finite at frame {frame}; leave it out"
            )
        return values

    def _success(self, index: int, row: dict[str, Any]) -> bool | None:
        """See `episode_info`."""
        if "success" in row:
            return _outcome(row["success"], index, self.folder)
        if layout.SUCCESS in self.info["features"]:
            marks = _numbers(self.table(index, [layout.SUCCESS]), layout.SUCCESS)
            return True if (marks == 1).any() else None if np.isnan(marks).any() else False
        return paid_outcome(self._rewards(index)) if self._success_is_paid else None

    @cached_property
    def _success_is_paid(self) -> bool:
        """Whether `next.reward` tells who solved the task; read once, for the whole data set."""
        if layout.REWARD not in self.info["features"]:
            return False
        rewards = [self._rewards(index) for index in range(len(self))]
        return tell_only_success(rewards) and any(part[-1] > 0 for part in rewards)

    def _rewards(self, index: int) -> np.ndarray:
        """The recorded rewards of episode `index`: float32 [T]."""
        return self._finite(self.table(index, [layout.REWARD]), layout.REWARD, index)[:, 0]

    def _images(self, index: int, key: str) -> np.ndarray:
        from PIL import Image, UnidentifiedImageError

        frames = []
        for cell in self.table(index, [key]).column(key).to_pylist():
            source = (
                io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else inside(self.folder, cell["path"])
            )
            try:
                frames.append(np.asarray(Image.open(source).convert("RGB")))
            except (UnidentifiedImageError, OSError) as error:
                raise UserError(
                    f"an image of {key} in episode {index} of {self.folder} is damaged ({error})"
                ) from error
        return np.stack(frames)


def open_store(folder: Path) -> Store:
    """Check a LeRobotDataset v3.0 folder and open it.

    Raises:
        UserError: it is missing, empty, damaged, of another version, or a file that it names is missing.
    """
    return Store(folder, load_metadata(folder))


class _DataReader:
    """Reads rows of parquet files; the file and the row groups read last stay open, for the next episode."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: pq.ParquetFile | None = None
        self._starts = np.zeros(1, np.int64)
        self._read: tuple[tuple[int, int, tuple[str, ...]], pa.Table] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()

    def _open(self, path: Path) -> pq.ParquetFile:
        if self._file is not None and path == self._path:
            return self._file
        file = open_parquet(path)
        groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(groups)])
        self._file, self._path, self._read = file, path, None
        return file

    def read(self, path: Path, first: int, count: int, columns: Sequence[str]) -> pa.Table:
        """Rows first .. first + count - 1."""
        file = self._open(path)
        low = int(np.searchsorted(self._starts, first, side="right")) - 1
        high = int(np.searchsorted(self._starts, first + count, side="left"))
        key = (low, high, tuple(columns))
        if self._read is None or self._read[0] != key:
            try:
                self._read = key, file.read_row_groups(list(range(low, high)), list(columns))
            except (pa.ArrowInvalid, OSError) as error:
                raise broken_parquet(path, error) from error
        return self._read[1].slice(first - int(self._starts[low]), count)


def _outcome(value: object, index: int, folder: Path) -> bool | None:
    """The entry `success` of episode `index` in meta/episodes."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise UserError(
        f"meta/episodes of {folder} says success={value!r} of episode {index}; write true, false or null"
    )


def _unrecorded_rewards(info: EpisodeInfo) -> np.ndarray:
    """The rewards [T] of an episode of which nothing but its outcome may be known."""
    if info.success is None:
        return np.full(info.length, np.nan, np.float32)
    return np.float32(info.success) * (np.arange(info.length) == info.length - 1)


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    """A column as float32 [T, D]."""
    column = table.column(name).combine_chunks()
    while isinstance(column.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        column = column.flatten()
    values = (
        column.cast(pa.float32(), safe=False)
        if not pa.types.is_boolean(column.type)
        else column.cast(pa.int8())
    )
    return np.array(values.to_numpy(zero_copy_only=False), np.float32).reshape(len(table), -1)
