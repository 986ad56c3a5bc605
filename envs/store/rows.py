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
        self._files: dict[Path, _File] = {}
        self._scan: list[_File] | None = None
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
            rows = self._file(self._paths[self._which[position]]).rows(number)
            if rows is not None and rows.count == self.lengths[position]:
                return rows
        for file in self._scanned():
            rows = file.rows(number)
            if rows is not None and rows.count == self.lengths[position]:
                return rows
        raise self._missing(np.array([position]))

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
        counts = np.zeros(len(self._numbers), np.int64)
        for file in self._scanned():
            counts[np.isin(self._numbers, file.numbers)] = file.counts[np.isin(file.numbers, self._numbers)]
        if counts.sum() == total and counts.min() > 0:
            self.lengths = counts
        self.starts = np.cumsum(self.lengths) - self.lengths
        lacking = chosen[counts[chosen] != self.lengths[chosen]]
        if len(lacking):
            raise self._missing(lacking)

    def _scanned(self) -> list[_File]:
        """All data files."""
        if self._scan is None:
            self._scan = [self._file(path) for path in self._layout.all_data_paths()]
            every = np.concatenate([np.zeros(0, np.int64), *(file.numbers for file in self._scan)])
            known, often = np.unique(every, return_counts=True)
            if (often > 1).any():
                raise UserError(
                    f"{self.folder} has rows of episode {known[often > 1][0]} in more than one file; {AGAIN}"
                )
        return self._scan

    def _file(self, path: Path) -> _File:
        """What one data file holds."""
        if path not in self._files:
            self._files[path] = _File(path)
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


class _File:
    """Which rows of a data file belong to which episode; an episode in several pieces is left out.

    numbers, counts: of its episodes, int64 [n], numbers rising.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        columns = _read_columns(path)
        episode = columns["episode_index"]
        begins = np.flatnonzero(np.diff(episode, prepend=episode[:1] - 1))
        ends = np.append(begins[1:], len(episode)).astype(np.int64)
        known, first, often = np.unique(episode[begins], return_index=True, return_counts=True)
        first, self.numbers = first[often == 1], known[often == 1].astype(np.int64)
        self._first, self.counts = begins[first], ends[first] - begins[first]
        frames = columns.get("frame_index", np.arange(len(episode)))
        self._backward = np.flatnonzero((np.diff(frames) <= 0) & (np.diff(episode) == 0))
        self._tasks, self._changes = columns.get("task_index"), np.zeros(0, np.int64)
        if self._tasks is not None:
            order = np.lexsort((frames, np.cumsum(np.diff(episode, prepend=episode[:1]) != 0)))
            self._tasks = self._tasks[order]
            self._changes = np.flatnonzero(np.diff(self._tasks, prepend=self._tasks[:1] - 1))

    def rows(self, number: int) -> Rows | None:
        """The rows of an episode; None if it is not here in one piece."""
        at = int(np.searchsorted(self.numbers, number))
        if at == len(self.numbers) or self.numbers[at] != number:
            return None
        low, count = int(self._first[at]), int(self.counts[at])
        back, change = (
            np.searchsorted(places, [low, low + count]) for places in (self._backward, self._changes)
        )
        tasks: tuple[tuple[int, int], ...] = ()
        if self._tasks is not None:
            frames = np.unique([low, *self._changes[slice(*change)]])
            tasks = tuple((int(frame) - low, int(self._tasks[frame])) for frame in frames)
        return Rows(self.path, low, count, tasks, ordered=bool(back[0] == back[1]))


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    file = open_parquet(path)
    names = [name for name in COLUMNS if name in file.schema_arrow.names]
    if "episode_index" not in names:
        raise UserError(f"{path} has no column episode_index; {AGAIN}")
    try:
        table = file.read(names)
    except (pa.ArrowInvalid, OSError) as error:
        raise broken_parquet(path, error) from error
    return {name: table.column(name).to_numpy().astype(np.int64) for name in names}
