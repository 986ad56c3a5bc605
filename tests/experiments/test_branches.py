"""Branches from the command line: ranking, a warning before learning from imagined ones, learning from real ones."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from envs.errors import UserError
from envs.files import load_arrays
from experiments.branch_bench import bench_branches
from experiments.run import run_each
from experiments.stages.branches import BRANCHES
from experiments.stages.ranking import doubt
from experiments.value_bench import run_value_bench
from tests.experiments.imagined import write_world

ONLINE = [
    "method=grpo",
    "method.online.groups=2",
    "method.online.group_size=3",
    "method.online.iterations=1",
    "method.online.updates=1",
    "reward=critic",
    "reward.of=gain",
    "evaluate.episodes=1",
    "evaluate.horizon=12",
    "evaluate.workers=1",
    "evaluate.videos=0",
    "held_out.clean=1",
    "held_out.hesitation=1",
    "held_out.retry=1",
    "wandb.mode=disabled",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A folder for everything; the demonstrations that tell true progress are made once."""
    folder = tmp_path_factory.mktemp("branches")
    write_world(folder)
    return folder


def words(outputs, *more):
    return ["task=lift", "policy=vla_token", f"outputs={outputs}", *more]


def test_critics_are_ranked_on_the_same_branches(outputs, capsys):
    few = ["groups=3", "group_size=3", "decisions=2", "workers=1", "phases=[approach,grasp]"]
    bench_branches(words(outputs, "critic=wvm,time_index", *few))
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    critics = printed["critics"]
    assert list(critics) == ["wvm", "time_index"] and list(critics["wvm"]["all"]) == ["1", "2"]
    blind = [one["r"] for of in critics["time_index"].values() for one in of.values()]
    assert set(blind) <= {0, None} and 0 in blind  # who counts frames tells no branch from another
    assert json.loads((outputs / "branches/lift.json").read_text())["critics"] == critics
    made = list(outputs.glob("artifacts/branches-*"))
    arrays = load_arrays(made[0] / BRANCHES)[0]
    assert len(made) == 1 and arrays["action"].shape == (9, 8, 7) and set(arrays["phase"]) <= {0, 1}
    for name in ("progress", "proprio", "images.workspace", "images.wrist"):
        groups = arrays[name].reshape(3, 3, *arrays[name].shape[1:])
        assert (groups[:, 0, 0] == groups[:, 1, 0]).all() and (groups[:, 0, 0] == groups[:, 2, 0]).all()
        assert (groups[:, 0, -1] != groups[:, 1, -1]).any()


def test_the_value_benchmark_has_the_same_figures(outputs, capsys):
    few = ["groups=3", "group_size=3", "decisions=2", "workers=1", "phases=[approach,grasp]"]
    bench_branches(words(outputs, "critic=wvm,time_index", *few))
    alone = json.loads(capsys.readouterr().out.splitlines()[-1])
    small = ["data.scale=0.01", "data.combinations=[lift-Panda]", "data.image_size=64"]
    branches = ["branches=[lift]", *(f"branch.{word}" for word in few)]
    run_value_bench([f"outputs={outputs}", "critic=wvm,time_index", *small, *branches])
    printed = capsys.readouterr().out
    rows = json.loads(printed.splitlines()[-1])["rows"]
    assert {row["critic"]: row["branch_ranking"]["lift"] for row in rows} == alone["critics"]
    assert all(row["branch_truth"] == {"lift": alone["truth"]} for row in rows)
    assert "3 states of a task × 3 branches" in printed
    [report] = outputs.glob("value_bench/wvm-*/report.md")
    assert "## Branches from one state" in report.read_text() and "true progress" in report.read_text()
    with pytest.raises(UserError, match="branches"):
        run_value_bench(["critic=time_index", "branches=[open_drawer]"])


def test_grpo_learns_from_branches_in_the_simulator(outputs):
    run_each(words(outputs, *ONLINE, "env=branches", "env.horizon=4", "name=real"))
    found = json.loads((outputs / "runs/real/results.json").read_text())
    assert found["training"]["groups_kept"] == 2 and found["place"] == "lift"
    assert -1 < found["training"]["reward"] < 1 and found["settings"]["env"]["horizon"] == 4
    improved = json.loads(next(outputs.glob("artifacts/improve-*/artifact.json")).read_text())
    assert improved["config"]["horizon"] == 4  # whatever is evaluated
    evaluated = [json.loads(path.read_text()) for path in outputs.glob("artifacts/evaluate-*/artifact.json")]
    assert {one["config"]["horizon"] for one in evaluated} == {12}


def test_learning_from_short_imagined_branches_says_what_is_not_known(outputs, capsys):
    short = [
        "env=imagination",
        f"env.path={outputs}/world",
        "env.worlds=4",
        "env.starts=all",
        "env.horizon=4",
    ]
    run_each(words(outputs, *ONLINE, *short, "branch_check=2", "name=dream"))
    said = [
        line for line in capsys.readouterr().err.splitlines() if "not known to follow true progress" in line
    ]
    assert len(said) == 1 and "branch_check=0" in said[0]  # a world of random weights, two states
    for path in outputs.glob("artifacts/improve-*"):
        shutil.rmtree(path)
    run_each(words(outputs, *ONLINE, *short, "branch_check=0", "name=unchecked"))
    assert "not known to follow" not in capsys.readouterr().err


def test_doubt_is_where_the_interval_reaches_zero():
    def rankings(low):
        return {"all": {"1": {"r": 0.9, "low": 0.8, "high": 1.0, "groups": 9}, "2": {"low": low, **of}}}

    of = {"r": 0.3, "high": 0.6, "groups": 9}
    assert doubt(rankings(0.01), 8) == ""
    assert "r 0.30 [-0.01, 0.60], 9 groups" in doubt(rankings(-0.01), 8)
    assert "within groups of 8" in doubt(rankings(None), 8)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["phases=[carry]"], "phase"),
        (["group_size=1"], "group_size=1 must be at least 2"),
        (["groups=2,3"], "only critic and its settings"),
        (["task.robot=Sawyer", "task=door"], "no demonstrations of door-Sawyer"),
        (["execute=20"], "chunks have"),
    ],
)
def test_what_does_not_fit_is_one_line(outputs, more, message):
    with pytest.raises(UserError, match=message) as caught:
        bench_branches(words(outputs, *more))
    assert "\n" not in str(caught.value)


def test_numbers_that_were_kept_are_numbers(outputs):
    for path in outputs.glob("artifacts/branch_gains-*"):
        gains = load_arrays(path / "gains.safetensors")[0]["gain"]
        assert np.isfinite(gains).all() and np.abs(gains).max() <= 1
