"""Writing a LeRobotDataset v3.0 folder, episode by episode; it appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from av.error import FFmpegError

from envs.errors import UserError
from envs.files import atomic_folder
from envs.store import layout
from envs.store.frames import (
    MEGABYTE,
    DataWriter,
    check_alike,
    check_episode,
    frame_columns,
    frame_table,
    outline,
    own_columns,
)
from envs.store.metadata import MetadataWriter, sync_folder
from envs.store.stats import Statistics, image_statistics, number_statistics
from envs.store.video import VideoWriter, find_codec
from envs.types import Episode


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
        self._first = self._first or outline(episode)
        check_alike(self._first, episode)
        index = self._metadata.episodes
        with _disk_errors(self.folder):
            task_index = np.array([self._metadata.task_index(text) for text in episode.told])
            columns = frame_columns(episode, index, self._metadata.frames, task_index)
            places: dict[str, int | float] = dict(self._data.add(frame_table(columns, episode)))
            statistics: Statistics = {name: number_statistics(values) for name, values in columns.items()}
            for camera, frames in sorted(episode.images.items()):
                key = layout.IMAGE_PREFIX + camera
                places |= self._add_video(key, frames, episode.fps)
                statistics[key] = image_statistics(frames)
            told = list(dict.fromkeys(episode.told))
            self._metadata.add(len(episode), told, places, own_columns(episode), statistics)
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

    def _add_video(self, key: str, frames: np.ndarray, fps: float) -> dict[str, int | float]:
        writer = self._videos.get(key)
        if writer is None or writer.size >= self._sizes[1] * MEGABYTE:
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
    """Stop before anything of the user's is overwritten.

    Raises:
        UserError: the folder has something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already; choose another folder or delete it first")


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"could not write {folder}: {reason}; free some space or check permissions"
        ) from error
