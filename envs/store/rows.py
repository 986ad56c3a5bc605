"""Where the rows of an episode lie, by what the rows themselves say.

Metadata go stale when tools move files: LeRobot's own reader takes a row's episode from the row. So a data file is
believed about the episodes in it (`episode_index`), and meta/episodes only about where to look first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from envs.errors import UserError
from envs.store.parquet import AGAIN, broken_parquet, open_parquet
from envs.store.versions import Layout, numbers

COLUMNS = ("episode_index", "frame_index", "task_index")


@dataclass(frozen=True)
class Rows:
    """The rows of one episode. first: of them in the file; tasks: (frame, task index) wherever the task changes, the
    first frame included; ordered: whether they lie in the order of their frames.
    """

    path: Path
    first: int
    count: int
    tasks: tuple[tuple[int, int], ...]
    ordered: bool


class RowMap:
    """Finds the rows of episodes: in the file that the metadata name, or wherever they are."""

    def __init__(self, layout: Layout, chosen: np.ndarray, total: int, folder: Path) -> None:
        """Check the files, and settle how long the episodes are.

        Args:
            chosen: positions of the episodes that will be read; total: frames of the data set, by its info.json.

        Raises:
            UserError: a data file is missing or damaged, or lacks frames of a chosen episode.
        """
        self.folder, self._layout = folder, layout
        self._numbers = numbers(layout.episodes, "episode_index")
        self._files: dict[Path, dict[int, Rows]] = {}
        self._scan: dict[int, Rows] | None = None
        self.lengths = numbers(layout.episodes, "length").astype(np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self._paths, self._which = layout.data_paths()
        if not self._as_said(chosen):
            self._believe_rows(chosen, total)

    def rows(self, position: int) -> Rows:
        """The rows of an episode.

        Raises:
            UserError: they are not there, or not in one piece.
        """
        number = int(self._numbers[position])
        if self._scan is None:
            rows = self._file(self._paths[self._which[position]]).get(number)
            if rows is not None and rows.count == self.lengths[position]:
                return rows
        rows = self._scanned().get(number)
        if rows is None or rows.count != self.lengths[position]:
            raise self._missing(np.array([position]))
        return rows

    def _as_said(self, chosen: np.ndarray) -> bool:
        """Whether the files are there and hold as many rows as the metadata say, in that order."""
        for which in np.unique(self._which[chosen]).tolist():
            path, inside = self._paths[which], self._which == which
            if not path.is_file() or open_parquet(path).metadata.num_rows != self.lengths[inside].sum():
                return False
        table = self._layout.episodes
        if "dataset_from_index" not in table.column_names:
            return True
        return bool((numbers(table, "dataset_from_index") == self.starts).all())

    def _believe_rows(self, chosen: np.ndarray, total: int) -> None:
        """Take lengths and places from the rows; where some are missing, none of a chosen episode may be."""
        found = self._scanned()
        counts = np.array([found[n].count if n in found else 0 for n in self._numbers.tolist()])
        if counts.sum() == total and counts.min() > 0:
            self.lengths = counts
        self.starts = np.cumsum(self.lengths) - self.lengths
        lacking = chosen[counts[chosen] != self.lengths[chosen]]
        if len(lacking):
            raise self._missing(lacking)

    def _scanned(self) -> dict[int, Rows]:
        """The rows of every episode, of all data files."""
        if self._scan is None:
            self._scan = {}
            for path in self._layout.all_data_paths():
                twice = self._scan.keys() & self._file(path).keys()
                if twice:
                    raise UserError(
                        f"{self.folder} has rows of episode {min(twice)} in more than one file; {AGAIN}"
                    )
                self._scan |= self._file(path)
        return self._scan

    def _file(self, path: Path) -> dict[int, Rows]:
        """The rows of every episode of one data file."""
        if path not in self._files:
            self._files[path] = _file_rows(path)
        return self._files[path]

    def _missing(self, positions: np.ndarray) -> UserError:
        """What to say of episodes whose frames are not all there."""
        some = ",".join(str(int(number)) for number in self._numbers[positions[:50]])
        path = self._paths[self._which[positions[0]]]
        what = (
            f"missing file {path}: it lacks"
            if not path.is_file()
            else f"the data files of {self.folder} lack"
        )
        return UserError(
            f"{what} frames of the episodes {some}; {AGAIN}, or leave them out: data.exclude=[{some}]"
        )


def _file_rows(path: Path) -> dict[int, Rows]:
    """{episode number: its rows} of a data file; an episode in several pieces is left out."""
    file = open_parquet(path)
    names = [name for name in COLUMNS if name in file.schema_arrow.names]
    if "episode_index" not in names:
        raise UserError(f"{path} has no column episode_index; {AGAIN}")
    try:
        table = file.read(names)
    except (pa.ArrowInvalid, OSError) as error:
        raise broken_parquet(path, error) from error
    columns = {name: table.column(name).to_numpy() for name in names}
    episode = columns["episode_index"]
    bounds = np.flatnonzero(np.diff(episode)) + 1 if len(episode) else np.zeros(0, np.int64)
    first = np.concatenate([[0], bounds])[: len(episode)]
    last = np.concatenate([bounds, [len(episode)]])[: len(first)]
    pieces = np.unique(episode[first], return_counts=True) if len(first) else ([], [])
    broken = {int(number) for number, count in zip(*pieces, strict=True) if count > 1}
    return {
        int(episode[low]): _rows(path, columns, int(low), int(high))
        for low, high in zip(first, last, strict=True)
        if int(episode[low]) not in broken
    }


def _rows(path: Path, columns: dict[str, np.ndarray], low: int, high: int) -> Rows:
    frames, tasks = columns.get("frame_index"), columns.get("task_index")
    ordered = frames is None or bool((np.diff(frames[low:high]) > 0).all())
    changes: tuple[tuple[int, int], ...] = ()
    if tasks is not None:
        part = tasks[low:high] if ordered or frames is None else tasks[low:high][np.argsort(frames[low:high])]
        at = np.concatenate([[0], np.flatnonzero(np.diff(part)) + 1])
        changes = tuple((int(frame), int(part[frame])) for frame in at)
    return Rows(path, low, high - low, changes, ordered)
