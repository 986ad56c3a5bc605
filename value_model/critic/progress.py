"""The progress sidecar of a data set, in LeRobot's SARM schema: one value for every frame, in a parquet file.

Columns index (of the frame in the whole data set), episode_index, frame_index (int64) and progress_sparse (float32);
schema metadata reward_model_path. LeRobot's RA-BC training and its visualiser read the same file. A value that nobody
knows is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from envs.errors import UserError
from envs.files import atomic_file
from envs.store import Store

SIDECAR = "sarm_progress.parquet"
VALUE = "progress_sparse"
COLUMNS = {"index": pa.int64(), "episode_index": pa.int64(), "frame_index": pa.int64(), VALUE: pa.float32()}


def write_progress(
    path: Path, store: Store, values: Iterable[np.ndarray], reward_model_path: str = ""
) -> None:
    """Write the values of every episode of the store, in order, as they come; the file appears when all are there.

    Args:
        values: [T] in [0, 1] for every episode, NaN where unknown.
        reward_model_path: what gave them.

    Raises:
        UserError: wrong number of episodes or frames, or values that are infinite or outside [0, 1].
    """
    schema = pa.schema(list(COLUMNS.items()), metadata={"reward_model_path": reward_model_path})
    count = 0
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for count, episode_values in enumerate(values, start=1):
            if count > len(store):
                raise UserError(
                    f"the critic gave values for more than the {len(store)} episodes of {store.folder}"
                )
            info = store.episode_info(count - 1)
            check_values(episode_values, info.length, f"episode {count - 1}")
            frame = np.arange(info.length)
            columns = (
                info.start + frame,
                np.full_like(frame, info.number),
                frame,
                episode_values.astype(np.float32),
            )
            writer.write_table(pa.table([pa.array(column) for column in columns], schema=schema))
        if count < len(store):
            raise UserError(
                f"the critic gave values for {count} of the {len(store)} episodes of {store.folder}"
            )


def read_progress(path: Path, store: Store) -> list[np.ndarray]:
    """Values float32 [T] in [0, 1] of every episode of the store; NaN where unknown, as in episodes that the file does
    not have at all.

    Raises:
        UserError: no such file, not in this schema, of another data set, part of an episode missing, a frame twice, a
            value outside [0, 1], or no value at all.
    """
    index, episode, frame, values = _read_columns(path)
    order = np.argsort(index, kind="stable")
    index, episode, frame, values = index[order], episode[order], frame[order], values[order]
    infos = [store.episode_info(number) for number in range(len(store))]
    total = store.recorded_frames
    if len(index) and (index[0] < 0 or index[-1] >= total):
        raise UserError(
            f"{path} is of another data set: it goes to frame {index[-1]}, {store.folder} has {total} frames"
        )
    if (twice := index[:-1][np.diff(index) == 0]).size:
        if (index == frame).all():
            raise UserError(
                f"{path} counts its column index anew in each episode; it must go on through the whole data set "
                "(episode by episode, as the data's own column index does)"
            )
        raise UserError(f"{path} has frame {twice[0]} twice; label the data set again")
    if 10 < (highest := np.nanmax(values, initial=0)) <= 100:
        raise UserError(f"{path} has values up to {highest:g}, they look like percent; divide them by 100")
    result = []
    for info in infos:
        rows = slice(*np.searchsorted(index, [info.start, info.start + info.length]))
        if not len(index[rows]):
            result.append(np.full(info.length, np.nan, np.float32))
            continue
        if missing := info.length - len(index[rows]):
            raise UserError(
                f"{path} lacks {missing} of the {info.length} frames of episode {info.number}; label the data set again"
            )
        if (episode[rows] != info.number).any() or (frame[rows] != np.arange(info.length)).any():
            raise UserError(
                f"{path} is of another data set: its episode {info.number} does not match {store.folder}"
            )
        check_values(values[rows], info.length, f"{path}, episode {info.number}")
        result.append(values[rows])
    if all(np.isnan(curve).all() for curve in result):
        raise UserError(f"{path} holds no value: all of them are unknown (NaN); label the data set again")
    return result


def _read_columns(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    if not path.is_file():
        raise UserError(f"no progress file {path}; label the data set first")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a whole parquet file; label the data set again") from error
    absent = [name for name in COLUMNS if name not in table.column_names]
    if absent:
        raise UserError(f"{path} has no column {absent[0]!r}; a progress file has {', '.join(COLUMNS)}")
    try:
        columns = [table[name].cast(kind).to_numpy() for name, kind in COLUMNS.items()]
    except pa.ArrowException as error:
        raise UserError(
            f"{path} has a column of the wrong type ({error}); label the data set again"
        ) from error
    return columns[0], columns[1], columns[2], columns[3]


def check_values(values: np.ndarray, length: int, place: str) -> None:
    """Refuse what is not one number in [0, 1] for each of `length` frames; NaN, unknown, is allowed.

    Raises:
        UserError: what is wrong with the values of `place`.
    """
    if values.shape != (length,):
        raise UserError(
            f"{place}: values of shape {list(values.shape)} for {length} frames; give one value a frame"
        )
    if ((values < 0) | (values > 1)).any():
        raise UserError(f"{place}: a value is not a number in [0, 1]; clip or scale the values")
