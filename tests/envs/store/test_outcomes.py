"""A user's own table of outcomes, qualities and lapses."""

import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from envs.errors import UserError
from envs.store import Reading, open_store, write_store
from envs.types import Segment
from tests.envs.episodes import make_episode


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    episodes = [make_episode(seed, success=None if seed else True) for seed in range(3)]
    return write_store(tmp_path_factory.mktemp("outcomes") / "store", episodes)


def told(folder, path):
    store = open_store(folder, Reading(outcomes=str(path)))
    return [store.episode_info(index) for index in range(len(store))]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table(folder, tmp_path, suffix):
    path = tmp_path / f"table{suffix}"
    text = "episode,success,style,start,end\n1,true,clumsy,,\n1,,retry,2,5\n1,,hesitation,0,1\n2,no,,,\n0,false,,,\n"
    (tmp_path / "table.csv").write_text(text)
    if suffix == ".parquet":
        pq.write_table(csv.read_csv(tmp_path / "table.csv"), path)
    first, second, third = told(folder, path)
    assert [info.success for info in (first, second, third)] == [False, True, False]
    assert (second.style, second.segments) == (
        "clumsy",
        (Segment("hesitation", 0, 1), Segment("retry", 2, 5)),
    )
    assert (third.style, len(third.segments)) == ("retry", 2)  # as recorded: the table says nothing of it


def test_an_episode_with_one_lapse_is_of_its_style(tmp_path):
    folder = write_store(tmp_path / "store", [make_episode(0, style="unknown", segments=(), success=None)])
    (tmp_path / "table.csv").write_text("episode,success,style,start,end\n0,yes,hesitation,2,5\n")
    [info] = told(folder, tmp_path / "table.csv")
    assert (info.style, info.success, info.segments) == ("hesitation", True, (Segment("hesitation", 2, 5),))


def test_what_nothing_tells_may_be_assumed(folder, tmp_path):
    (tmp_path / "table.csv").write_text("episode,success\n1,no\n")
    store = open_store(folder, Reading(outcomes=str(tmp_path / "table.csv"), assume_success=True))
    assert [store.episode_info(index).success for index in range(3)] == [True, False, True]


def test_what_a_table_leaves_open_stays_as_recorded(folder, tmp_path):
    (tmp_path / "table.csv").write_text("episode,success\n2,\n1,unknown\n")
    assert [info.success for info in told(folder, tmp_path / "table.csv")] == [True, None, None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("episode,success\n7,true\n", "row 1: the data set has no episode 7; its 3 episodes go from 0 to 2"),
        ("episode,success\n1,true\n1,false\n", "row 2: success is another than in a row before"),
        ("episode,success\n1,maybe\n", "row 1: success is 'maybe'; write true, false or nothing"),
        ("episode,sucess\n1,true\n", "has a column 'sucess'; its columns are episode, success"),
        ("number\n1\n", "has a column 'number'"),
        (
            "episode,style,start,end\n1,retry,4,12\n",
            "frames 4 to 12 are not in the episode, which has 12 frames",
        ),
        ("episode,style,start,end\n1,clean,4,6\n", "is a hesitation or retry, not 'clean'"),
        ("episode,style,start,end\n1,retry,4,\n", "end is None; write a whole number"),
        ("episode,success\n1.5,true\n", "episode is 1.5; write a whole number"),
        ("", "is no table"),
    ],
)
def test_mistakes_are_said(folder, tmp_path, text, words):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UserError) as error:
        told(folder, tmp_path / "table.csv")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_no_table(folder, tmp_path):
    with pytest.raises(UserError, match=r"no such table: .*nothing\.csv"):
        told(folder, tmp_path / "nothing.csv")
