"""Fidelity from the command line, in a world of random weights: rollouts of several policies in both places, and replays."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from envs.errors import UserError
from envs.replay import replay
from envs.robosuite.vector import RobosuiteScene, robosuite_envs
from envs.rollout import RolloutPool
from envs.store import open_store
from experiments import fidelity as command
from experiments.fidelity import measure_fidelity
from tests.experiments.imagined import write_world


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A folder with a world model."""
    folder = tmp_path_factory.mktemp("fidelity")
    write_world(folder)
    return folder


def words(outputs):
    few = ["temperatures=[0.3,1.0]", "noises=[0.5,1.0]", "episodes=3", "horizon=8", "workers=1"]
    few += ["branches=2", "branch_size=3"]
    return [
        f"outputs={outputs}",
        f"env.path={outputs}/world",
        "env.worlds=2",
        "env.minimum=0",
        "task=lift",
        *few,
    ]


def test_every_policy_is_rolled_out_in_both_places_and_replayed(outputs, capsys, monkeypatch):
    with pytest.raises(UserError, match="not all of one success"):  # nobody lifts a cube in 8 control steps
        measure_fidelity(words(outputs))
    made = {path.name.rsplit("-", 1)[0] for path in (outputs / "artifacts").iterdir() if path.is_dir()}
    assert {"fidelity_real", "fidelity_imagined", "fidelity_replay"} <= made
    known = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]], bool)
    alone = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 1], [1, 1, 1]], bool)
    rows = itertools.chain(known, known, known, alone)
    monkeypatch.setattr(command, "outcomes", lambda made: next(rows))
    measure_fidelity([*words(outputs), f"second={outputs}/world"])
    assert len(list((outputs / "artifacts").glob("fidelity_again-*"))) == 4
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["pearson_r"] == pytest.approx(1) and printed["policies"] == 4
    assert printed["precision"] == printed["recall"] == printed["agreement"] == 1
    branches = printed["branches"]
    assert list(branches) == ["real_true", "imagined_true", "imagined_real"]
    for rankings in branches.values():
        assert list(rankings["all"]) == ["1", "2", "3", "4"]
        assert all(one["r"] is None or abs(one["r"]) <= 1 for of in rankings.values() for one in of.values())
    assert branches["real_true"]["all"]["4"]["groups"] == branches["imagined_true"]["all"]["4"]["groups"]
    kept = json.loads((outputs / "fidelity/lift.json").read_text())
    assert kept["policies"]["T = 0.3, noise 1"] == {
        "real": 1.0,
        "imagined": 1.0,
        "replayed": 1.0,
        "agreed": 1.0,
    }
    assert printed["agreed_precision"] == 1 and printed["agreed_recall"] == pytest.approx(5 / 6)
    assert printed["agreed_gap"] == pytest.approx(-1 / 12)
    assert kept["settings"]["episodes"] == 3


def test_replayed_actions_do_what_they_did(outputs):
    episodes = list(open_store(next((outputs / "artifacts").glob("collect-*")) / "data"))
    with RolloutPool(robosuite_envs(RobosuiteScene("lift", linger=5), 2, 5)) as pool:
        done = [episode.actions for episode in episodes]
        seeds = [episode.seed for episode in episodes]
        assert replay(pool.envs, [*seeds, seeds[0]], [*done, done[0][:10]]) == [True, True, False]
