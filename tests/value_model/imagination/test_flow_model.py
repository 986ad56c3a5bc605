"""A whole world model whose dynamics are a flow: trained, killed, resumed, saved, gone on from and imagined in."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from envs.errors import UserError
from tests.value_model.imagination.scene import push
from tests.value_model.imagination.test_world_model import SHORT
from value_model.imagination.config import PRESETS, HandConfig, from_json, to_json
from value_model.imagination.flow import Flow
from value_model.imagination.flow_config import FlowConfig
from value_model.imagination.quality import imagine, quality, record
from value_model.imagination.train import train_world_model
from value_model.imagination.world_model import load_world_model
from value_model.imagination.worlds import Worlds
from value_model.video.weights import flat_arrays

FLOW = dataclasses.replace(
    SHORT, dynamics="flow", flow=FlowConfig(window=3, steps=2), hand=HandConfig(width=32, layers=2)
)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    episodes, folder = [push(seed) for seed in range(4)], tmp_path_factory.mktemp("flow")
    return episodes, folder, train_world_model(episodes, FLOW, folder, seed=3)


def test_killed_and_resumed_gives_the_same_weights(short, tmp_path):
    episodes, _, straight = short
    assert isinstance(straight.dynamics, Flow) and straight.config == FLOW

    def kill(part: str, done: int, total: int, metrics: object) -> None:
        if part == "world model, 2 steps" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_world_model(episodes, FLOW, tmp_path, seed=3, progress=kill)
    found = flat_arrays(train_world_model(episodes, FLOW, tmp_path, seed=3).parts)
    for name, array in flat_arrays(straight.parts).items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)


def test_it_is_measured_and_acted_in_as_others_are(short):
    episodes, folder, world = short
    clips = record(world, episodes, steps=4, count=6)
    found = quality(world, clips, horizons=(1, 4))
    assert found["latent"][1] > 0 and found["hand_cm"][4] > 0
    one, again = (imagine(load_world_model(folder), clips, seed=seed) for seed in (0, 0))
    np.testing.assert_array_equal(one.latents, again.latents)
    assert (one.latents != imagine(world, clips, seed=1).latents).any()  # it draws from its keys
    worlds = Worlds(world, 2)
    everyone, seeds = np.ones(2, bool), np.array([5, 5])
    worlds.begin(clips.latents[[0, 0], 0], clips.proprio[[0, 0], 0], clips.words[[0, 0]], everyone)
    actions = np.repeat(clips.actions[:1, 0], 2, axis=0)
    seen = worlds.advance(actions, seeds, np.zeros(2, int), np.array([True, False]))
    np.testing.assert_array_equal(seen.latents[-1, 1], clips.latents[0, 0])  # it stays where it is
    assert (np.asarray(seen.latents[-1, 0]) != clips.latents[0, 0]).any()


def test_a_finished_model_is_gone_on_from(short, tmp_path):
    episodes, folder, first = short
    still = train_world_model(episodes[:2], FLOW.going_on(0), tmp_path / "still", refresh=folder)
    on = train_world_model(episodes[:2], FLOW.going_on(2), tmp_path / "on", refresh=folder)
    before, kept, after = (flat_arrays({"dynamics": world.dynamics}) for world in (first, still, on))
    for name, array in before.items():
        np.testing.assert_array_equal(array, kept[name], err_msg=name)
    assert any((array != after[name]).any() for name, array in before.items())
    assert SHORT.going_on(2).optim.updates == 0 and SHORT.going_on(2).unroll.updates == 2
    with pytest.raises(UserError, match="other cameras, sizes or layers"):
        train_world_model(episodes[:2], SHORT, tmp_path / "other", refresh=folder)


def test_settings(short):
    assert from_json(to_json(FLOW)) == FLOW and PRESETS["flow"].dynamics == "flow"
    with pytest.raises(UserError, match=r"leave outcome\.classes=0"):
        dataclasses.replace(PRESETS["kitchen"], dynamics="flow")
    with pytest.raises(UserError, match="dynamics"):
        dataclasses.replace(FLOW, dynamics="flew")
    with pytest.raises(UserError, match=r"longer than 396 frames; lower model\.flow\.window"):
        train_world_model(short[0], dataclasses.replace(FLOW, flow=FlowConfig(window=100)), short[1] / "long")
