"""The progress sidecar, written and read back beside a real store; every way it can be wrong."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envs.errors import UserError
from envs.store import Store, open_store, write_store
from envs.types import Episode
from tests.value_model.synthetic import slide
from value_model.critic.label import label_store
from value_model.critic.progress import SIDECAR, read_progress, write_progress
from value_model.critic.stretches import label_stretches


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("data") / "store"
    write_store(folder, [slide(0, length=5), slide(1, length=3)])
    return open_store(folder)


def _values() -> list[np.ndarray]:
    return [np.array([0, 0.1, 0.2, 0.3, 1], np.float32), np.array([0.5, 0.25, 0], np.float32)]


def test_read_back(store: Store, tmp_path: Path) -> None:
    write_progress(tmp_path / SIDECAR, store, _values(), "critics/one")
    for written, read in zip(_values(), read_progress(tmp_path / SIDECAR, store), strict=True):
        assert read.tolist() == written.tolist()


def test_the_schema_is_lerobots(store: Store, tmp_path: Path) -> None:
    write_progress(tmp_path / SIDECAR, store, _values(), "critics/one")
    table = pq.read_table(tmp_path / SIDECAR)
    assert table.schema.metadata[b"reward_model_path"] == b"critics/one"
    assert table.schema.field("progress_sparse").type == pa.float32()
    assert table["index"].to_pylist() == list(range(8))
    assert table["episode_index"].to_pylist() == [0] * 5 + [1] * 3
    assert table["frame_index"].to_pylist() == [0, 1, 2, 3, 4, 0, 1, 2]


def test_frames_in_any_order(store: Store, tmp_path: Path) -> None:
    write_progress(tmp_path / SIDECAR, store, _values())
    table = pq.read_table(tmp_path / SIDECAR)
    pq.write_table(table.take(pa.array([7, 3, 1, 0, 2, 6, 5, 4])), tmp_path / SIDECAR)
    assert read_progress(tmp_path / SIDECAR, store)[1].tolist() == _values()[1].tolist()


def test_unknown_values_stay_unknown(store: Store, tmp_path: Path) -> None:
    """LeRobot writes NaN where it has no value, and leaves out episodes that it did not label."""
    first, second = _values()
    first[[0, 3]] = np.nan
    write_progress(tmp_path / SIDECAR, store, [first, second])
    read = read_progress(tmp_path / SIDECAR, store)
    np.testing.assert_array_equal(read[0], first)
    np.testing.assert_array_equal(read[1], second)
    pq.write_table(pq.read_table(tmp_path / SIDECAR).slice(5, 3), tmp_path / SIDECAR)
    read = read_progress(tmp_path / SIDECAR, store)
    assert np.isnan(read[0]).all() and len(read[0]) == 5
    np.testing.assert_array_equal(read[1], second)
    write_progress(tmp_path / SIDECAR, store, [first * np.nan, second * np.nan])
    with pytest.raises(UserError, match="holds no value"):
        read_progress(tmp_path / SIDECAR, store)


def _damage(table: pa.Table, column: str, row: int, value: float) -> pa.Table:
    numbers = table[column].to_pylist()
    numbers[row] = value
    return table.set_column(
        table.column_names.index(column), column, pa.array(numbers, table.schema.field(column).type)
    )


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("progress_sparse", 2, 1.2, r"episode 0: a value is not a number in \[0, 1\]"),
        ("progress_sparse", 6, float("inf"), "episode 1: a value"),
        ("progress_sparse", 6, float("-inf"), "episode 1: a value"),
        ("index", 7, 8, "another data set"),
        ("index", 3, 2, "frame 2 twice"),
        ("episode_index", 7, 0, "another data set"),
        ("frame_index", 4, 9, "another data set"),
    ],
)
def test_wrong_values(
    store: Store, tmp_path: Path, column: str, row: int, value: float, message: str
) -> None:
    write_progress(tmp_path / SIDECAR, store, _values())
    pq.write_table(_damage(pq.read_table(tmp_path / SIDECAR), column, row, value), tmp_path / SIDECAR)
    with pytest.raises(UserError, match=message):
        read_progress(tmp_path / SIDECAR, store)


def test_other_ways_to_be_wrong(store: Store, tmp_path: Path) -> None:
    path = tmp_path / SIDECAR
    with pytest.raises(UserError, match="no progress file"):
        read_progress(path, store)
    path.write_bytes(b"PAR1 cut")
    with pytest.raises(UserError, match="not a whole parquet file"):
        read_progress(path, store)
    write_progress(path, store, _values())
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 6), path)
    with pytest.raises(UserError, match="lacks 2 of the 3 frames of episode 1"):
        read_progress(path, store)
    pq.write_table(pa.concat_tables([table, table.slice(4, 1)]), path)
    with pytest.raises(UserError, match="frame 4 twice"):
        read_progress(path, store)
    pq.write_table(table.drop_columns(["progress_sparse"]), path)
    with pytest.raises(UserError, match="no column 'progress_sparse'"):
        read_progress(path, store)


class _Halves:
    def __init__(self, *values: float) -> None:
        self.numbers = values

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        for number, episode in zip(self.numbers, episodes, strict=False):
            yield np.full(len(episode), number, np.float32)


def test_label_store(store: Store, tmp_path: Path) -> None:
    done = []
    report = label_store(label_stretches(_Halves(0.5, 0.25), store), store, tmp_path / SIDECAR, done.append)
    assert read_progress(tmp_path / SIDECAR, store)[1].tolist() == [0.25] * 3
    assert done == [5, 3] and report.frames == 8
    assert report.frames_per_s == pytest.approx(8 / report.seconds)


@pytest.mark.parametrize(
    ("critic", "message"), [(_Halves(0.5, 1.5), "episode 1"), (_Halves(0.5), "1 of the 2")]
)
def test_a_bad_critic_leaves_no_file(store: Store, tmp_path: Path, critic: _Halves, message: str) -> None:
    with pytest.raises(UserError, match=message):
        label_store(label_stretches(critic, store), store, tmp_path / SIDECAR)
    assert list(tmp_path.iterdir()) == []
