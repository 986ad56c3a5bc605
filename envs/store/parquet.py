"""Parquet files of a data set, opened and read row by row; what is wrong with one is said in a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from envs.errors import UserError

AGAIN = "download or record it again"


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


def flat_numbers(table: pa.Table, name: str) -> np.ndarray:
    """A column as float32 [T, D], whatever its type and nesting; NaN where it is null.

    Raises:
        UserError: it holds no numbers, or more of them in some rows than in others.
    """
    column = table.column(name).combine_chunks()
    whole = True
    while isinstance(column.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        whole = whole and not column.null_count
        column = column.flatten()
    if not whole or (len(table) and len(column) % len(table)):
        raise UserError(f"{name} has not as many numbers in every row; leave those episodes out, or {AGAIN}")
    if not (
        pa.types.is_boolean(column.type)
        or pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
    ):
        raise UserError(f"{name} holds {column.type}, no numbers; name another feature")
    values = (
        column.cast(pa.float32(), safe=False)
        if not pa.types.is_boolean(column.type)
        else column.cast(pa.int8())
    )
    return np.array(values.to_numpy(zero_copy_only=False), np.float32).reshape(len(table), -1)


class RowReader:
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

    def read(self, path: Path, first: int, count: int, columns: Sequence[str]) -> pa.Table:
        """Rows first .. first + count - 1.

        Raises:
            UserError: the file is missing or damaged.
        """
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

    def _open(self, path: Path) -> pq.ParquetFile:
        if self._file is not None and path == self._path:
            return self._file
        file = open_parquet(path)
        groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(groups)])
        self._file, self._path, self._read = file, path, None
        return file
