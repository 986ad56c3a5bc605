"""Values that a critic has given, an episode at a time, by what the episode shows (`envs.store.fingerprint`).

A folder of parquet files, each whole or not there: a killed labelling goes on, and a data set that has grown, was cut or
renumbered is not labelled again. Several processes may write into it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from envs.files import atomic_file

SCHEMA = pa.schema([("episode", pa.string()), ("values", pa.list_(pa.float32()))])
OPEN = 8  # files whose values are held in memory


class ValueCache:
    """The values of one critic. Only the fingerprints are held in memory, and the values of a few files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._place: dict[str, tuple[Path, int]] = {}
        self._read: OrderedDict[Path, pa.ChunkedArray] = OrderedDict()
        for path in sorted(folder.glob("part-*.parquet")):
            self._enter(path, _fingerprints(path))

    def __contains__(self, fingerprint: str) -> bool:
        return fingerprint in self._place

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """Keep {fingerprint: float32 [T]}, as one more file."""
        if not values:
            return
        name = hashlib.sha256("".join(values).encode()).hexdigest()[:16]
        path = self.folder / f"part-{name}.parquet"
        table = pa.table([list(values), [one.tolist() for one in values.values()]], schema=SCHEMA)
        with atomic_file(path) as temporary:
            pq.write_table(table, temporary)
        self._enter(path, list(values))

    def values(self, fingerprints: Sequence[str]) -> Iterator[np.ndarray]:
        """float32 [T] of each of these, which must be known, in order."""
        for fingerprint in fingerprints:
            path, row = self._place[fingerprint]
            yield np.array(self._column(path)[row].values, np.float32)

    def _enter(self, path: Path, fingerprints: Sequence[str]) -> None:
        self._place |= {fingerprint: (path, row) for row, fingerprint in enumerate(fingerprints)}

    def _column(self, path: Path) -> pa.ChunkedArray:
        if path not in self._read:
            self._read[path] = pq.read_table(path, columns=["values"]).column("values")
            if len(self._read) > OPEN:
                self._read.popitem(last=False)
        return self._read[path]


def _fingerprints(path: Path) -> list[str]:
    """The episodes of a file; a damaged file is removed, for its episodes to be labelled again."""
    try:
        file = pq.ParquetFile(path)
        file.read(["values"])
        return file.read(["episode"]).column("episode").to_pylist()
    except (pa.ArrowException, OSError):
        path.unlink(missing_ok=True)
        return []
