"""Rollouts as data, and what was done in episodes of others done again."""

from __future__ import annotations

import numpy as np
import pytest

from envs.errors import UserError
from envs.store import open_store, write_store
from experiments.choices.environments import RobosuiteChoice
from experiments.lab.artifacts import Artifacts
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.settings.config import RolloutData, TaskConfig
from experiments.stages.acting import Acting
from experiments.stages.rollouts import roll_out_data
from tests.envs.episodes import make_episode

ACTING = Acting(RobosuiteChoice(), TaskConfig("lift"), horizon=16, workers=1, execute=8)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    with Simulators() as simulators:
        yield Context(Artifacts(tmp_path_factory.mktemp("artifacts")), Tracker(None), simulators)


def nobody():
    raise AssertionError("nobody else acts")


def recorded(seed, success, actions=7):
    drawn = np.random.default_rng(seed).uniform(-1, 1, (16, actions)).astype(np.float32)
    return make_episode(length=16, success=success, segments=(), actions=drawn, seed=seed)


def test_the_solved_ones_are_done_first_each_elsewhere(context, tmp_path):
    write_store(tmp_path / "one", [recorded(1, False), recorded(2, True)])
    write_store(tmp_path / "other", [recorded(3, True), recorded(4, False)])
    folders = (str(tmp_path / "one"), str(tmp_path / "other"))
    made = roll_out_data(context, RolloutData(actions=folders, episodes=3, linger=0), ACTING, nobody, "")
    store = open_store(made.folder)
    done = [store.episode(index, cameras=()) for index in range(3)]
    known = {seed: recorded(seed, True).actions for seed in (1, 2, 3, 4)}
    whose = [
        next(seed for seed, one in known.items() if np.array_equal(one, episode.actions)) for episode in done
    ]
    assert set(whose[:2]) == {2, 3} and whose[2] in (1, 4)
    assert not {episode.seed for episode in done} & set(known)
    again = RolloutData(actions=folders[:1], episodes=2, linger=0)
    assert roll_out_data(context, again, ACTING, nobody, "").digest != made.digest


def test_what_cannot_be_done_elsewhere_is_one_line(context, tmp_path):
    write_store(tmp_path / "short", [recorded(1, True)])
    write_store(tmp_path / "wide", [recorded(1, True, actions=9)])
    with pytest.raises(UserError, match="leave one of them out"):
        RolloutData(policy="outputs/runs/first", actions=("outputs/data",))
    made = roll_out_data(
        context, RolloutData(actions=(str(tmp_path / "short"),), episodes=1), ACTING, nobody, ""
    )
    for folder, message in (
        (tmp_path / "short", "only 1 were recorded"),
        (tmp_path / "wide", "actions of 9 numbers, lift takes 7"),
        (tmp_path / "nowhere", "nowhere"),
        (made.folder, "these very scenes"),
    ):
        data = RolloutData(actions=(str(folder),), episodes=1 + (folder == tmp_path / "short"))
        with pytest.raises(UserError, match=message):
            roll_out_data(context, data, ACTING, nobody, "")
