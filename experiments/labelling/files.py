"""The files that other tools read: a progress file, and a weight for every frame; never over somebody else's unless told."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from envs.errors import UserError
from envs.files import atomic_file

MAKER = "policy_extraction"  # begins the note of who made a file
NOTE = b"reward_model_path"
WEIGHTS = pa.schema([("index", pa.int64()), ("weight", pa.float32())])
ROWS = 1 << 20  # of weights, written at a time


def note(kind: str, digest: str) -> str:
    """What a file of ours says of who made it."""
    return f"{MAKER} {kind} {digest}"


def require_ours(path: Path, said: str, replace: bool) -> None:
    """Refuse to write over a file that says something else than `said` of who made it, or into a place that cannot be
    written; unless told to `replace` it.

    Raises:
        UserError: what stands in the way, and how to mend it.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {path}; choose another place for it (out=…)")
    if replace or not path.exists():
        return
    try:
        found = (pq.read_schema(path).metadata or {}).get(NOTE, b"").decode(errors="replace")
    except (pa.ArrowException, OSError):
        found = ""
    if found == said:
        return
    whose = f"was made by {found!r}" if found else "was made by another tool"
    raise UserError(f"{path} {whose}; keep both with out=…, or write over it with replace=true")


def write_weights(path: Path, weights: np.ndarray, said: str) -> None:
    """Write a weight for every frame of a data set: columns index (int64, of the frame in the data set), weight (float32).

    Args:
        weights: float32 [N], of all frames in order.
    """
    schema = WEIGHTS.with_metadata({NOTE: said.encode()})
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for first in range(0, len(weights), ROWS):
            part = weights[first : first + ROWS].astype(np.float32)
            writer.write_table(pa.table([first + np.arange(len(part)), part], schema=schema))


def kept(curves: Iterable[np.ndarray], into: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The curves as they pass, each of them also put `into` the list."""
    for curve in curves:
        into.append(curve)
        yield curve
