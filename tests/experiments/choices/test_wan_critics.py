"""The published scale as a choice of `critic=`; all models are random and small."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from envs.errors import UserError
from experiments.choices.wan_critics import WanChoice
from experiments.lab.artifacts import Artifacts
from experiments.value_benchmark.critic import bench_critic
from tests.value_model.synthetic import slides
from tests.value_model.wan_models import ENCODED, save_all
from value_model.video.config import OptimConfig

CONFIG = dataclasses.replace(ENCODED, optim=OptimConfig(updates=2, batch=4, warmup=1, checkpoint_every=2))


def test_trained_saved_and_loaded(tmp_path: Path) -> None:
    weights = save_all(tmp_path / "weights", CONFIG)
    store = slides(tmp_path / "store", (30,))
    choice = WanChoice(weights=str(weights), model=CONFIG)
    assert not choice.at_hand and choice.recipe()["variants"] == 1
    critic = choice.train([store], tmp_path / "work", lambda *_: None)
    critic.save(tmp_path / "critic")
    ready = dataclasses.replace(choice, path=str(tmp_path / "critic"))
    assert ready.at_hand
    source = bench_critic(Artifacts(tmp_path), ready)
    values = next(iter(source.load().label(store)))
    assert values.shape == (30,) and 0 <= values.min() <= values.max() <= 1
    np.testing.assert_allclose(values, next(iter(critic.label(store))), atol=1e-5)
    other = dataclasses.replace(ready, path=str(tmp_path))
    assert source.digest != bench_critic(Artifacts(tmp_path), other).digest


def test_weights_are_asked_for() -> None:
    with pytest.raises(UserError, match=r"critic\.weights="):
        WanChoice()
