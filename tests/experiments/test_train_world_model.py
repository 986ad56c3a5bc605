"""Training a world model from the command line, on next to no data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from envs.errors import UserError
from experiments.choices.wvm_critics import WVMChoice
from experiments.reports.world_card import EYES_TITLE
from experiments.settings.config import TaskConfig
from experiments.stages.critic import examples
from experiments.stages.experience import Experience
from experiments.train_world_model import train_world_model
from tests.experiments.imagined import random_world
from value_model.imagination.world_model import load_world_model

DATA = ["tasks=[lift]", "experience.share=0.01", "experience.rollouts=1", "experience.temperatures=[1.0]"]
MODEL = [
    "model.tokenizer.updates=2",
    "model.tokenizer.width=8",
    "model.tokenizer.channels=4",
    "model.tokenizer.frames=64",
    "model.tokenizer.batch=8",
    "model.video.layers=1",
    "model.video.width=32",
    "model.optim.updates=2",
    "model.optim.batch=4",
    "model.unroll.updates=2",
    "model.unroll.steps=2",
    "eyes.updates=2",
    "eyes.width=8",
    "eyes.clips=4",
    "eyes.steps=2",
]


CRITIC = ["critic.joint=true", "critic.batch=4", "critic.value.width=16", "critic.value.feedforward=32"]


def test_a_world_model_with_its_critic_and_its_card(tmp_path, capsys):
    folder = tmp_path / "world"
    words = [*DATA, *MODEL, f"folder={folder}", f"outputs={tmp_path / 'outputs'}", "wandb.mode=disabled"]
    train_world_model([*words, *CRITIC])
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert found["folder"] == str(folder)
    assert found["lift"]["latent"]["1"] > 0 and found["lift"]["clips"]["1"] > 0
    assert load_world_model(folder).config.video.layers == 1
    card = (folder / "MODEL_CARD.md").read_text()
    assert "8 episodes" in card and "model.video.layers=1" in card and "| latent_shuffled" in card
    assert (folder / "lift.png").is_file()
    assert found["critic"]["expert_voc_count"] > 0 and "| expert_voc " in card
    [values] = WVMChoice(path=str(folder)).saved().load().label(examples(TaskConfig("lift"))[:1])
    assert np.isfinite(values).all() and "critic=wvm" in card
    assert found["eyes"]["distilled"]["1"] > 0 and found["eyes"]["copy"]["0"] == 0
    eyes, weights = load_world_model(folder).eyes, (folder / "model.safetensors").read_bytes()
    assert eyes.own.width == 8 and card.count(EYES_TITLE) == 1 and eyes.digest in card
    train_world_model([*words, f"world={folder}", "eyes.width=4"])  # nothing but the eyes again
    again = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert list(again) == ["folder", "seconds", "eyes"] and again["seconds"] is None and found["seconds"] > 0
    assert load_world_model(folder).eyes.own.width == 4
    assert (folder / "model.safetensors").read_bytes() == weights
    later = (folder / "MODEL_CARD.md").read_text()
    assert later.count(EYES_TITLE) == 1 and later.startswith(card.partition(EYES_TITLE)[0])
    with pytest.raises(UserError, match=r"leave out critic\.joint"):
        train_world_model([*words, *CRITIC, f"world={folder}"])
    with pytest.raises(UserError, match="trains eyes alone, and this policy has none"):
        train_world_model([*words, f"world={folder}", "policy.train_encoder=true"])


def test_mistakes_are_one_line():
    for change, message in (
        ({"share": 0.0}, "experience.share"),
        ({"held_out": 2.0}, "experience.held_out"),
        ({"rollouts": -1}, "experience.rollouts"),
        ({"robot": "Baxter"}, "robot"),
        ({"temperatures": (1.0,) * 8}, "at most 7"),
    ):
        with pytest.raises(UserError, match=message):
            Experience(**change)
    for word, message in (("tasks=[fly]", "task"), ("tasks=[]", "at least one task"), ("model=huge", "tiny")):
        with pytest.raises(UserError, match=message):
            train_world_model([word])


def test_a_finished_world_model_is_looked_at_before_anything_is_collected(tmp_path):
    random_world().save(tmp_path / "other")
    with pytest.raises(UserError, match="has no critic; train it with one"):
        WVMChoice(path=str(tmp_path / "other")).check(())
    outputs = f"outputs={tmp_path / 'outputs'}"
    for word, message in (
        (f"world={tmp_path}", "config.json is missing"),
        (f"refresh={tmp_path}", "config.json is missing"),
        (f"refresh={tmp_path / 'other'}", "other cameras, sizes or layers"),
    ):
        with pytest.raises(UserError, match=message):
            train_world_model([*DATA, word, outputs])
    assert not (tmp_path / "outputs").exists()
