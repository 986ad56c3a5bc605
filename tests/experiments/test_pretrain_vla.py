"""Pretraining the base VLA from the command line, on next to no data."""

from __future__ import annotations

import json

import numpy as np

from envs.types import Observation
from experiments.lab.seeds import seeds
from experiments.pretrain_vla import pretrain_base
from policy_extraction.types import Training
from policy_extraction.vla.model import load_vla, vla_policy

SMALL = ["vla.first_channels=4", "vla.second_channels=4", "vla.width=32", "vla.step_width=8", "batch=8"]
STYLES = ("clean", "noisy", "slow", "hesitation", "retry", "detour", "failure")


def test_the_base_is_collected_for_trained_checked_and_published(tmp_path, capsys):
    data = [f"data.{style}={int(style in ('clean', 'failure'))}" for style in STYLES]
    words = ["tasks=[lift]", *data, *SMALL, "train.updates=2", "check.episodes=2", "check.horizon=10"]
    words += [f"outputs={tmp_path}/outputs", f"folder={tmp_path}/base", "wandb.mode=disabled"]
    pretrain_base(words)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["folder"] == f"{tmp_path}/base" and set(printed["success"]) == {"lift"}
    card = (tmp_path / "base/MODEL_CARD.md").read_text()
    assert "per task: 1 clean, 1 failure" in card and "2 episodes a task" in card
    vla = load_vla(tmp_path / "base")
    images = {camera: np.zeros((2, 64, 64, 3), np.uint8) for camera in vla.config.spec.cameras}
    observation = Observation(images, np.zeros((2, 8), np.float32), ("lift the red cube",) * 2)
    chunk = vla_policy(vla, "token", training=Training()).act(observation, np.arange(2))
    assert chunk.shape == (2, 10, 7) and np.isfinite(chunk).all()
    report = json.loads(next(tmp_path.glob("outputs/artifacts/collect-*/report.json")).read_text())
    assert report["episodes"] == {"clean": 1, "failure": 1}
    pretrain_base(words)  # all of it is found done
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == printed


def test_its_episodes_serve_nothing_else():
    assert not set(seeds("pretraining", 0, 100)) & set(seeds("pretraining_check", 0, 100))
