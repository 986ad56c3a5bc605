"""Weights & Biases: what it is given."""

from __future__ import annotations

from pathlib import Path

import wandb

from experiments.lab.tracking import tracked
from experiments.settings.config import WandbConfig


def test_a_summary_may_have_numbers_for_keys(tmp_path: Path) -> None:
    with tracked(WandbConfig(mode="offline"), "world", tmp_path, {"seed": 0}) as tracker:
        tracker.summary({"lift": {"latent": {1: 0.5, 8: 0.25}}, "seconds": 3.0})
        assert wandb.run is not None
        assert wandb.run.summary["lift"]["latent"]["8"] == 0.25
