"""Baselines and the vision-language model as choices of `critic=`: trained, kept, loaded, refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from envs.errors import UserError
from envs.files import copy_files
from envs.store import write_store
from experiments.choices.learned_critics import FrameTransformerChoice, GVLChoice, SingleFrameChoice
from experiments.lab.artifacts import Artifacts
from experiments.lab.tracking import Tracker
from experiments.settings.cli import configurations
from experiments.settings.config import TaskConfig
from experiments.stages.critic import get_critic, train_on
from experiments.stages.data import Data
from experiments.value_benchmark.critic import bench_critic
from tests.value_model.synthetic import MICRO, slide
from tests.value_model.vlm_server import VLMServer, chat, seeing
from value_model.chat.client import ConnectionConfig
from value_model.critic.baselines.config import FrameTransformerConfig, SingleFrameConfig
from value_model.critic.gvl.critic import GVLConfig
from value_model.critic.types import SeeingCritic

TINY = FrameTransformerConfig(width=16, layers=1, heads=2, feedforward=16, frames=8)
TRACKER = Tracker(None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("data") / "slides"
    write_store(folder, [slide(seed) for seed in range(3)])
    return Data(folder, "slides", {})


@pytest.mark.parametrize(
    ("choice", "other"),
    [
        (SingleFrameChoice(model=MICRO, network=SingleFrameConfig(width=16)), FrameTransformerChoice()),
        (FrameTransformerChoice(model=MICRO, network=TINY), SingleFrameChoice()),
    ],
    ids=["single_frame", "frame_transformer"],
)
def test_baselines_are_trained_once_and_loaded_from_a_folder(tmp_path: Path, data: Data, choice, other):
    artifacts = Artifacts(tmp_path / "artifacts")
    source = train_on(artifacts, choice, [data], TRACKER)
    critic = source.load()
    assert isinstance(critic, SeeingCritic) and critic.cameras == ("workspace",)
    again = train_on(artifacts, choice, [data], TRACKER)
    assert again.digest == source.digest
    copy_files(source.folder, tmp_path / "kept")
    kept = dataclasses.replace(choice, path=str(tmp_path / "kept"))
    loaded = get_critic(artifacts, TaskConfig("lift"), kept, TRACKER).load()
    for one, two in zip(critic.label(data.open()), loaded.label(data.open()), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(UserError, match="another kind of baseline"):
        bench_critic(artifacts, dataclasses.replace(other, path=kept.path)).load()
    with pytest.raises(UserError, match=r"no baseline critic in .*: config\.json is missing"):
        bench_critic(artifacts, dataclasses.replace(choice, path=str(tmp_path)))
    with pytest.raises(UserError, match="no world value model in"):
        train_on(artifacts, dataclasses.replace(choice, tokenizer=str(tmp_path)), [data], TRACKER)


def test_a_vision_language_model_is_chosen_by_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture):
    with VLMServer(lambda request, number: chat(seeing(request) if number != 1 else "?")) as server:
        arguments = ["critic=gvl", "critic.vlm.model=seer", f"critic.vlm.base_url={server.base_url}"]
        arguments += ["critic.vlm.frames=5", "critic.vlm.attempts=1", "critic.vlm.on_miss=undefined"]
        arguments += ["critic.connection.concurrency=1", f"critic.answers={tmp_path}"]
        [chosen] = configurations("run", arguments)
        critic = bench_critic(Artifacts(tmp_path), chosen.config.critic).load()
        values = list(critic.label([slide(0, 9), slide(1, 9)]))
    assert isinstance(critic, SeeingCritic)
    assert [bool(np.isnan(value).all()) for value in values] == [False, True]
    assert "no usable answer for 1 of 2 videos (50.0%)" in capsys.readouterr().err


def test_the_digest_of_a_vision_language_model_is_that_of_the_question(tmp_path: Path):
    artifacts, choice = Artifacts(tmp_path), GVLChoice(GVLConfig(model="seer"))
    patient = dataclasses.replace(choice, connection=ConnectionConfig(retries=9), answers="elsewhere")
    assert bench_critic(artifacts, choice).digest == bench_critic(artifacts, patient).digest
    other = GVLChoice(GVLConfig(model="seer", frames=20))
    assert bench_critic(artifacts, choice).digest != bench_critic(artifacts, other).digest
