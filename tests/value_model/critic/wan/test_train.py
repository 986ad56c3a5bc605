"""Training on encoded clips from Wan's weights; all models are random and small."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from envs.store import Store
from tests.value_model.synthetic import slides
from tests.value_model.wan_models import ENCODED, save_all
from value_model.critic.wan.clip_store import ClipStore
from value_model.critic.wan.encode import encode_clips
from value_model.critic.wan.network import load_wan_network
from value_model.critic.wan.train import train_wan
from value_model.video.config import OptimConfig

CONFIG = dataclasses.replace(ENCODED, optim=OptimConfig(updates=6, batch=8, warmup=2, checkpoint_every=2))
LENGTHS = (40, 23)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_all(tmp_path_factory.mktemp("weights"), CONFIG)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return slides(tmp_path_factory.mktemp("data") / "store", LENGTHS)


@pytest.fixture(scope="module")
def clips(weights: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    made = encode_clips([store], weights, CONFIG, tmp_path_factory.mktemp("clips"))
    assert made is not None
    return made


class Killed(Exception):
    """Stands for a process that dies."""


def test_a_killed_training_ends_with_the_same_weights(
    clips: ClipStore, weights: Path, store: Store, tmp_path: Path
) -> None:
    losses: list[float] = []

    def note(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        losses.append(metrics["loss"])

    def die(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        if done == 5:
            raise Killed

    straight = train_wan(clips, weights, CONFIG, tmp_path / "straight", progress=note)
    assert len(losses) == 6 and np.isfinite(losses).all()
    with pytest.raises(Killed):
        train_wan(clips, weights, CONFIG, tmp_path / "killed", progress=die)
    resumed = train_wan(clips, weights, CONFIG, tmp_path / "killed")
    for one, other in zip(
        jax.tree.leaves(nnx.state(resumed.network)), jax.tree.leaves(nnx.state(straight.network)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    before = load_wan_network(weights, CONFIG, seed=0).video.stream.blocks.up.kernel[...]
    assert not np.array_equal(straight.network.video.stream.blocks.up.kernel[...], before)
    finished = train_wan(clips, weights, CONFIG, tmp_path / "straight")
    np.testing.assert_allclose(next(finished.label(store)), next(straight.label(store)), atol=1e-6)
    none = dataclasses.replace(CONFIG, optim=dataclasses.replace(CONFIG.optim, updates=0))
    more = train_wan(clips, weights, none, tmp_path / "more", start=tmp_path / "straight")
    for one, other in zip(
        jax.tree.leaves(nnx.state(more.network)), jax.tree.leaves(nnx.state(straight.network)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_clips_of_other_settings(clips: ClipStore, weights: Path, tmp_path: Path) -> None:
    faster = dataclasses.replace(CONFIG, clip=dataclasses.replace(CONFIG.clip, fps=2.0))
    with pytest.raises(UserError, match=r"encoded with fps=5\.0, not 2\.0"):
        train_wan(clips, weights, faster, tmp_path)
    train = dataclasses.replace(
        CONFIG, optim=dataclasses.replace(CONFIG.optim, learning_rate=1e30, clip_norm=1e30)
    )
    with pytest.raises(UserError, match="non-finite"):
        train_wan(clips, weights, train, tmp_path)
    with pytest.raises(UserError, match="another configuration or seed"):
        train_wan(clips, weights, CONFIG, tmp_path)
