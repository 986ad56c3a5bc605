"""One check before any work names all that does not fit, each with its mend; the mends work."""

import dataclasses

import numpy as np
import pytest

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.store import Reading, open_store, write_store
from experiments.choices.plain_critics import TimeIndexChoice
from experiments.choices.wvm_critics import WVMChoice
from experiments.settings.cli import configurations
from experiments.stages.fit import check_data, check_watched
from policy_extraction.advantages import ChunkDifference, MonteCarlo
from policy_extraction.types import PolicySpec
from tests.envs.episodes import make_episode

ENV = EnvSpec({"workspace": (16, 16)}, 8, (-1.0,) * 7, (1.0,) * 7, 20.0, 50, "stack")
UNKNOWN = {"success": None, "rewards": np.full(12, np.nan, np.float32)}


def store(tmp_path, reading=None, **changes):
    folder = tmp_path / "store"
    if not folder.exists():
        write_store(folder, [make_episode(seed, **changes) for seed in range(2)])
    return open_store(folder, reading or Reading())


def said(store, policy=None, critic=None, env=ENV, advantage=None):
    with pytest.raises(UserError) as error:
        check_data(store, policy or PolicySpec(), critic or WVMChoice(), env, advantage or ChunkDifference())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_data_that_fit(tmp_path):
    check_data(store(tmp_path), PolicySpec(), WVMChoice(), ENV, MonteCarlo())


def test_everything_is_named_at_once(tmp_path):
    actions = np.zeros((12, 6), np.float32)
    foreign = store(tmp_path, cameras=("front", "wrist"), actions=actions, fps=30.0, instruction="?!")
    message = said(foreign, PolicySpec(proprio_dim=6))
    for part in (
        "the camera workspace is looked through, the data set has front, wrist",
        "(say which it is: data.cameras.workspace=front)",
        "actions: the environment takes 7 numbers, the data set has 6",
        "state: the policy takes 6 numbers, the data set has 8 (name it: data.state=action)",
        "rate: the data set has 30 actions a second, the environment takes 20",
        "the instruction '?!' has no words",
    ):
        assert part in message


def test_cameras_are_proposed_and_the_proposal_works(tmp_path):
    cameras = ("left_hand", "front")
    assert "data.cameras.workspace=front data.cameras.wrist=left_hand" in said(
        store(tmp_path, cameras=cameras)
    )
    reading = Reading(cameras={"workspace": "front", "wrist": "left_hand"})
    check_data(store(tmp_path, reading), PolicySpec(), WVMChoice(), ENV, ChunkDifference())
    with pytest.raises(UserError, match=r"say which it is: critic\.cameras=\[front,left_hand\]"):
        check_watched(store(tmp_path), WVMChoice())
    check_watched(store(tmp_path), WVMChoice(cameras=("front", "left_hand")))
    check_watched(store(tmp_path), TimeIndexChoice())
    with pytest.raises(UserError, match=r"names 1 cameras, the critic has 2 views \(workspace, wrist\)"):
        WVMChoice(cameras=("front",)).check(())


def test_one_camera_may_stand_for_two(tmp_path):
    assert "data.cameras.workspace=top data.cameras.wrist=top" in said(store(tmp_path, cameras=("top",)))
    reading = Reading(cameras={"workspace": "top", "wrist": "top"})
    check_data(store(tmp_path, reading), PolicySpec(), WVMChoice(), ENV, ChunkDifference())


def test_actions_beyond_the_environments(tmp_path):
    actions = np.zeros((12, 7), np.float32)
    actions[3] = [0, 3, 0, 0, -1.5, 0, 1]
    message = said(store(tmp_path, actions=actions))
    assert "actions go beyond -1…1, which stands for the environment's range: [1] 0…3, [4] -1.5…0" in message
    assert "actions [6] are only 0 and 1, where the environment takes -1 and 1" in message


def test_outcomes_that_an_advantage_needs(tmp_path):
    unknown = store(tmp_path, **UNKNOWN)
    check_data(unknown, PolicySpec(), WVMChoice(), ENV, ChunkDifference())
    assert "no outcome is known, and this advantage needs them" in said(unknown, advantage=MonteCarlo())
    (tmp_path / "said.csv").write_text("episode,success\n0,true\n1,false\n")
    told = store(tmp_path, Reading(outcomes=str(tmp_path / "said.csv")))
    check_data(told, PolicySpec(), WVMChoice(), ENV, MonteCarlo())


def test_what_is_only_watched_needs_no_actions_and_no_state(tmp_path):
    nothing = np.zeros((12, 0), np.float32)
    watched = store(tmp_path, actions=nothing, proprio=nothing)
    check_watched(watched, WVMChoice())
    message = said(watched)
    assert "actions: the environment takes 7 numbers, the data set has no feature for them" in message


def test_the_settings_reach_the_store(tmp_path):
    folder = store(tmp_path, cameras=("front", "wrist")).folder
    words = ["data=store", f"data.path={folder}", "data.cameras.workspace=front", "data.exclude=[1]"]
    (chosen,) = configurations("run", words)
    read = open_store(folder, chosen.config.data.reading)
    assert read.cameras == ("workspace", "wrist") and len(read) == 1
    with pytest.raises(UserError, match=r"unknown setting 'data\.camera\.workspace'"):
        configurations("run", ["data=store", f"data.path={folder}", "data.camera.workspace=front"])
    assert dataclasses.replace(chosen.config.data, cameras={}).reading.exclude == (1,)
