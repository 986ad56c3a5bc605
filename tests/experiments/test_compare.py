"""A comparison's rows: told apart by every setting that varies, and paired with the cloning that matches."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import experiments.compare
from envs.errors import UserError
from experiments.compare import asked, compare
from experiments.stages.evaluate import Evaluation

LISTED = ["train.learning_rate=1e-3,1e-4", "critic.path=a,b"]


def solved(config) -> int:
    """Of ten episodes; every setting and seed another number."""
    if config.data.clean == 200:
        return 9
    count = {"BC": 1, "AWR": 4}[type(config.method).__name__]
    return count + 2 * (config.train.learning_rate < 5e-4) + (getattr(config.critic, "path", "") == "b")


@pytest.fixture
def rows(tmp_path, monkeypatch, capsys):
    def run(chosen, position, simulators):
        steps = np.where(np.arange(10) < solved(chosen.config), 10.0, np.inf)
        return SimpleNamespace(after=Evaluation(16, np.arange(10), steps, np.zeros(10)), before=None)

    monkeypatch.setattr(experiments.compare, "_run", run)

    def compared(*arguments):
        compare(asked([*arguments, f"outputs={tmp_path}"]), arguments)
        printed = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
        [folder] = (tmp_path / "compare").iterdir()
        assert (folder / "success.png").stat().st_size > 5000
        kept = json.loads((folder / "results.json").read_text())["rows"]
        assert [row["method"] for row in kept] == [row["method"] for row in printed]
        return kept

    return compared


def test_every_setting_that_varies_is_in_the_label_and_pairs_match_in_it(rows):
    found = rows("method=bc,awr", *LISTED, "seed=0,1")
    assert [(row["method"], row["critic"], row["success"]) for row in found] == [
        ("bc train.learning_rate=0.001", "wvm path=a", 0.1),
        ("bc train.learning_rate=0.001", "wvm path=b", 0.2),
        ("bc train.learning_rate=0.0001", "wvm path=a", 0.3),
        ("bc train.learning_rate=0.0001", "wvm path=b", 0.4),
        ("awr train.learning_rate=0.001", "wvm path=a", 0.4),
        ("awr train.learning_rate=0.001", "wvm path=b", 0.5),
        ("awr train.learning_rate=0.0001", "wvm path=a", 0.6),
        ("awr train.learning_rate=0.0001", "wvm path=b", 0.7),
    ]
    for row in found:
        if row["method"].startswith("bc"):
            assert row["difference_to_bc"] is None
        else:
            assert row["difference_to_bc"]["mean"] == pytest.approx(0.3)
    assert [row["seeds"] for row in found] == [2] * 8
    assert found[-1]["varied"] == {
        "method": "awr",
        "train.learning_rate": "0.0001",
        "critic.path": "b",
    }


def test_settings_of_a_choice_are_told_within_that_choice(rows):
    found = rows("method=awr", "method.temperature=3,10", "critic=wvm,time_index")
    assert [(row["method"], row["critic"]) for row in found] == [
        ("awr temperature=3.0", "wvm"),
        ("awr temperature=3.0", "time_index"),
        ("awr temperature=10.0", "wvm"),
        ("awr temperature=10.0", "time_index"),
    ]
    assert found[0]["difference_to_bc"] is None


def test_what_is_asked_for_twice_is_one_row_and_one_seed(rows):
    [row] = rows("method=bc,bc", "seed=0,0,1")
    assert (row["method"], row["seeds"]) == ("bc", 2)
    assert row["choices"]["data"] == "mixed"


def test_the_share_of_what_clean_data_would_give(rows):
    words = ["method=bc,awr", "critic=wvm,time_index", "data=suboptimal", "seed=0,1", "ceiling=clean"]
    found = rows(*words, "train.learning_rate=1e-3")
    named = [(row["method"], row["critic"], row["success"]) for row in found]
    assert named == [
        ("bc data=suboptimal", "wvm", 0.1),
        ("bc data=suboptimal", "time_index", 0.1),
        ("awr data=suboptimal", "wvm", 0.4),
        ("awr data=suboptimal", "time_index", 0.4),
        ("bc data=clean", "time_index", 0.9),  # one for all
    ]
    for row in found[2:4]:
        assert row["share_of_clean_gap"]["mean"] == pytest.approx(3 / 8)
        assert row["share_of_clean_gap"]["low"] < 3 / 8 < row["share_of_clean_gap"]["high"]
    assert [row["share_of_clean_gap"] for row in (found[0], found[4])] == [None, None]
    assert found[4]["settings"]["data"]["hesitation"] == 0


def test_a_ceiling_that_cannot_be_is_one_line(rows):
    for words, message in (
        (["method=awr", "ceiling=clean"], "put bc among the methods"),
        (["method=bc", "ceiling=perfect"], "clean"),
        (["method=bc", "data=store", "data.path=/x", "ceiling=clean"], "data=mixed or data=suboptimal"),
    ):
        with pytest.raises(UserError, match=message):
            rows(*words)
