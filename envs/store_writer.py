"""Writing a LeRobotDataset v3.0 folder, episode by episode; it appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from av.error import FFmpegError

from envs import store_layout as layout
from envs.errors import UserError
from envs.files import atomic_folder
from envs.store_metadata import MetadataWriter, sync_folder
from envs.store_stats import Statistics, image_statistics, number_statistics
from envs.store_video import VideoWriter, find_codec
from envs.types import Episode

MEGABYTE = 1024**2


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


class StoreWriter:
    """Writes episodes of equal shape into a new LeRobotDataset v3.0 folder.

    with StoreWriter(folder) as writer:
        writer.add(episode)

    Until `close` (or the end of the block) everything lies in a hidden `.partial` folder beside `folder`; an
    error inside the block removes it, and what a killed process leaves never opens as a store.

    Args:
        folder: does not exist yet, or is empty.
        codec: a key of `store_video.CODECS`; "h264_lossless" gives back every pixel.
        data_files_mb, video_files_mb: a file that has grown this large is followed by the next.
    """

    def __init__(
        self, folder: Path, codec: str = "h264_lossless", data_files_mb: int = 100, video_files_mb: int = 200
    ) -> None:
        refuse_existing(folder)
        self.folder = folder
        self._codec = find_codec(codec)
        self._sizes = (data_files_mb, video_files_mb)
        self._stack = ExitStack()
        self._partial = self._stack.enter_context(atomic_folder(folder))
        self._metadata = MetadataWriter(self._partial)
        self._data = DataWriter(self._partial, data_files_mb)
        self._videos: dict[str, VideoWriter] = {}
        self._video_numbers: dict[str, int] = {}
        self._first: Episode | None = None

    def add(self, episode: Episode) -> int:
        """Append an episode; its index in the store.

        Raises:
            UserError: the episode is empty, not finite, or of other shapes, cameras or rate than the first;
                the disk is full.
        """
        check_episode(episode)
        self._first = self._first or _outline(episode)
        _check_alike(self._first, episode)
        index = self._metadata.episodes
        with _disk_errors(self.folder):
            numbers = self._numbers(episode)
            places: dict[str, int | float] = dict(self._data.add(_table(numbers, episode)))
            statistics: Statistics = {name: number_statistics(values) for name, values in numbers.items()}
            for camera, frames in sorted(episode.images.items()):
                key = layout.IMAGE_PREFIX + camera
                places |= self._add_video(key, frames, episode.fps)
                statistics[key] = image_statistics(frames)
            self._metadata.add(len(episode), [episode.instruction], places, own_columns(episode), statistics)
        return index

    def close(self) -> Path:
        """Finish the files and put the folder in its place, which is returned.

        Raises:
            UserError: no episode was added, or the disk is full.
        """
        if self._first is None:
            self.discard()
            raise UserError(f"no episode was written to {self.folder}; a store needs at least one")
        with _disk_errors(self.folder):
            self._data.close()
            for video in self._videos.values():
                video.close()
            robot, fps = self._first.robot, self._first.fps
            self._metadata.finish(self._features(self._first), robot, fps, self._sizes)
            sync_folder(self._partial)
        self._stack.close()
        return self.folder

    def discard(self) -> None:
        """Remove everything written so far."""
        self.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        self._metadata.discard()
        self._data.close()
        self._stack.__exit__(kind, error, trace)

    def _numbers(self, episode: Episode) -> dict[str, np.ndarray]:
        """The columns of the data file: [T] or [T, D]."""
        length, last = len(episode), np.arange(len(episode)) == len(episode) - 1
        columns = {
            layout.PROPRIO: episode.proprio,
            layout.ACTION: episode.actions,
            layout.ENVIRONMENT_STATE: episode.environment_state,
            layout.REWARD: episode.rewards,
            layout.DONE: last,
            layout.SUCCESS: last & episode.success,
            "timestamp": (np.arange(length) / episode.fps).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, self._metadata.episodes),
            "index": self._metadata.frames + np.arange(length),
            "task_index": np.full(length, self._metadata.task_index(episode.instruction)),
        }
        return {name: columns[name] for name in layout.number_features(episode)}

    def _add_video(self, key: str, frames: np.ndarray, fps: float) -> dict[str, int | float]:
        writer = self._videos.get(key)
        if writer is None or writer.size() >= self._sizes[1] * MEGABYTE:
            if writer is not None:
                writer.close()
            self._video_numbers[key] = number = self._video_numbers.get(key, -1) + 1
            path = layout.file_path(self._partial, layout.VIDEO, number, video_key=key)
            height, width = frames.shape[1:3]
            writer = self._videos[key] = VideoWriter(path, self._codec, fps, height, width)
        start, end = writer.add(frames)
        places = layout.chunk_and_file(self._video_numbers[key]) | {
            "from_timestamp": start,
            "to_timestamp": end,
        }
        return {f"videos/{key}/{name}": value for name, value in places.items()}

    def _features(self, episode: Episode) -> dict[str, Any]:
        cameras = {}
        for camera, frames in sorted(episode.images.items()):
            height, width = frames.shape[1:3]
            feature = layout.video_feature(height, width, episode.fps, self._codec.name, self._codec.stored)
            cameras[layout.IMAGE_PREFIX + camera] = feature
        numbers = layout.number_features(episode)
        return cameras | {
            name: {"dtype": kind, "shape": [size], "names": None} for name, (kind, size) in numbers.items()
        }


def write_store(folder: Path, episodes: Iterable[Episode], codec: str = "h264_lossless") -> Path:
    """Write all episodes into a new store; see `StoreWriter`."""
    with StoreWriter(folder, codec) as writer:
        for episode in episodes:
            writer.add(episode)
    return folder


def refuse_existing(folder: Path) -> None:
    """Raises:
    UserError: something is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already; choose another folder or delete it first")


def own_columns(episode: Episode) -> dict[str, Any]:
    """The values of `store_layout.OWN_COLUMNS`."""
    return {
        "success": episode.success,
        "style": episode.style,
        "segments": [asdict(segment) for segment in episode.segments],
        "seed": episode.seed,
        "robot": episode.robot,
        "task_name": episode.task,
    }


def check_episode(episode: Episode) -> None:
    """Refuse an episode that cannot be stored.

    Raises:
        UserError: it has no frames, its arrays differ in length, or a number is NaN or infinite.
    """
    length = len(episode)
    if not length:
        raise UserError("an episode without frames cannot be stored; leave it out")
    arrays = {
        "proprio": episode.proprio,
        "rewards": episode.rewards,
        "environment_state": episode.environment_state,
    }
    for name, array in {**arrays, "actions": episode.actions, **episode.images}.items():
        if len(array) != length:
            raise UserError(
                f"{name} has {len(array)} frames but actions have {length}; give both the same number"
            )
        if array.dtype != np.uint8 and not np.isfinite(array).all():
            raise UserError(
                f"{name} of the episode with seed {episode.seed} holds NaN or infinite values; leave it out"
            )


def _outline(episode: Episode) -> Episode:
    """The episode with its first frame only, to compare the others with."""
    return Episode(
        images={camera: frames[:1].copy() for camera, frames in episode.images.items()},
        proprio=episode.proprio[:1].copy(),
        actions=episode.actions[:1].copy(),
        rewards=episode.rewards[:1].copy(),
        environment_state=episode.environment_state[:1].copy(),
        success=episode.success,
        task=episode.task,
        instruction=episode.instruction,
        robot=episode.robot,
        seed=episode.seed,
        fps=episode.fps,
    )


def _shapes(episode: Episode) -> dict[str, object]:
    shapes: dict[str, object] = {
        f"camera {camera}": frames.shape[1:] for camera, frames in episode.images.items()
    }
    return shapes | {
        "proprio": episode.proprio.shape[1:],
        "actions": episode.actions.shape[1:],
        "environment_state": episode.environment_state.shape[1:],
        "fps": episode.fps,
    }


def _check_alike(first: Episode, episode: Episode) -> None:
    expected, found = _shapes(first), _shapes(episode)
    for name in expected.keys() | found.keys():
        if expected.get(name) != found.get(name):
            raise UserError(
                f"{name} is {found.get(name)} in this episode but {expected.get(name)} in the first; "
                "put them into separate stores"
            )


def _table(numbers: dict[str, np.ndarray], episode: Episode) -> pa.Table:
    """Columns [T], or fixed lists [T, D], of the types that `info.json` names."""
    columns = {}
    for name, (kind, size) in layout.number_features(episode).items():
        flat = pa.array(np.ascontiguousarray(numbers[name]).reshape(-1).astype(kind))
        columns[name] = flat if size == 1 else pa.FixedSizeListArray.from_arrays(flat, size)
    return pa.table(columns)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"could not write {folder}: {reason}; free some space or check permissions"
        ) from error
