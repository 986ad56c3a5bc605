"""Training a world model from the command line, on next to no data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from experiments.stages.experience import Experience
from experiments.train_world_model import EYES_TITLE, train_world_model
from value_model.imagination.config import ImaginationConfig
from value_model.imagination.regression import Regression
from value_model.imagination.starts import StartBank
from value_model.imagination.world_model import WorldModel, load_world_model
from value_model.video.config import TokenizerConfig, VideoConfig
from value_model.video.tokenizer import Tokenizer

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


def test_a_world_model_and_its_card(tmp_path, capsys):
    folder = tmp_path / "world"
    words = [*DATA, *MODEL, f"folder={folder}", f"outputs={tmp_path / 'outputs'}", "wandb.mode=disabled"]
    train_world_model(words)
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert found["folder"] == str(folder)
    assert found["lift"]["latent"]["1"] > 0 and found["lift"]["clips"]["1"] > 0
    assert load_world_model(folder).config.video.layers == 1
    card = (folder / "MODEL_CARD.md").read_text()
    assert "8 episodes" in card and "model.video.layers=1" in card and "| latent_shuffled" in card
    assert (folder / "lift.png").is_file()
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
    config = ImaginationConfig(
        tokenizer=TokenizerConfig(channels=16, width=8),
        video=VideoConfig(layers=1, width=32, patch=(1, 2, 2)),
    )
    rngs = nnx.Rngs(0)
    nothing = StartBank(
        np.zeros((0, *config.latent_shape), np.float16), np.zeros((0, 8)), np.zeros(0, np.int32), ()
    )
    WorldModel(
        config, Tokenizer(config.tokenizer, rngs=rngs), Regression(config, rngs=rngs), None, {}, nothing
    ).save(tmp_path / "other")
    outputs = f"outputs={tmp_path / 'outputs'}"
    for word, message in (
        (f"world={tmp_path}", "config.json is missing"),
        (f"refresh={tmp_path}", "config.json is missing"),
        (f"refresh={tmp_path / 'other'}", "other cameras, sizes or layers"),
    ):
        with pytest.raises(UserError, match=message):
            train_world_model([*DATA, word, outputs])
    assert not (tmp_path / "outputs").exists()
