"""Baselines: what their sequences are, what they may see, and training to the end, resumed, saved and misused."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from tests.value_model.synthetic import MICRO, slide
from value_model.critic.baselines.config import BaselineConfig, FrameTransformerConfig, SingleFrameConfig
from value_model.critic.baselines.critic import Baseline, load_baseline, train_baseline
from value_model.critic.baselines.networks import build, rewound_frames
from value_model.critic.config import ClipConfig
from value_model.critic.metrics.episodes import voc

SINGLE = SingleFrameConfig(width=64)
TRANSFORMER = FrameTransformerConfig(width=32, layers=2, heads=2, feedforward=64, frames=16)
KINDS: list[BaselineConfig] = [SINGLE, TRANSFORMER]
LONGER = dataclasses.replace(
    MICRO,
    tokenizer=dataclasses.replace(MICRO.tokenizer, updates=60),
    optim=dataclasses.replace(MICRO.optim, updates=120, batch=16, learning_rate=3e-3),
)
EPISODES = [slide(seed) for seed in range(12)]


class Killed(Exception):
    """Stands for a process that dies."""


@pytest.fixture(scope="module", params=KINDS, ids=["single_frame", "frame_transformer"])
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Baseline, Path]:
    folder = tmp_path_factory.mktemp("baseline")
    return train_baseline(request.param, LONGER, EPISODES, folder), folder


def sequences(
    length: int, frames: int, stride: int, rewind: float, plateau: float
) -> tuple[np.ndarray, np.ndarray]:
    clip = ClipConfig(rewind=rewind, plateau=plateau)
    index, there = rewound_frames(jax.random.key(0), jnp.full(200, length), clip, stride, frames)
    return np.asarray(index), np.asarray(there)


def test_sequences_forwards_are_whole_phases_of_the_episode():
    index, there = sequences(length=10, frames=8, stride=3, rewind=0.0, plateau=0.0)
    rows = {tuple(row[inside].tolist()) for row, inside in zip(index, there, strict=True)}
    assert rows == {(0, 3, 6, 9), (1, 4, 7), (2, 5, 8)}


def test_long_episodes_are_cut_at_a_random_place():
    index, there = sequences(length=10, frames=4, stride=1, rewind=0.0, plateau=0.0)
    assert there.all() and set(index[:, 0].tolist()) == set(range(7))
    assert (np.diff(index, axis=1) == 1).all()


def test_sequences_turn_back_or_stand_still():
    index, there = sequences(length=5, frames=8, stride=1, rewind=1.0, plateau=0.0)
    rows = {tuple(row[inside].tolist()) for row, inside in zip(index, there, strict=True)}
    assert rows == {(0,), (0, 1, 0), (0, 1, 2, 1, 0), (0, 1, 2, 3, 2, 1, 0), (0, 1, 2, 3, 4, 3, 2, 1)}
    index, there = sequences(length=5, frames=8, stride=1, rewind=1.0, plateau=1.0)
    assert there.all() and {tuple(row.tolist()) for row in index} == {
        tuple(min(step, stop) for step in range(8)) for stop in range(5)
    }


@pytest.mark.parametrize("kind", KINDS, ids=["single_frame", "frame_transformer"])
def test_no_frame_sees_later_ones(kind: BaselineConfig):
    network = build(kind, MICRO, nnx.Rngs(0))
    latents = jax.random.normal(jax.random.key(1), (1, 6, *MICRO.latent_shape))
    words = jnp.array([[1, 2, 0]])
    whole, cut = network(latents, words), network(latents.at[:, 4:].set(0.0), words)
    np.testing.assert_allclose(whole[:, :4], cut[:, :4], atol=1e-6)
    assert not np.allclose(whole[:, 4:], cut[:, 4:])
    assert not np.allclose(whole, network(latents, jnp.array([[3, 0, 0]])))  # the instruction matters
    swapped = network(latents[:, jnp.array([1, 0, 2, 3, 4, 5])], words)
    alone = kind is SINGLE
    assert np.allclose(whole[:, 2:], swapped[:, 2:], atol=1e-6) == alone  # only one of them has a memory


def test_they_learn_progress(trained: tuple[Baseline, Path]):
    critic, _ = trained
    held_out = slide(99, length=37)
    values = critic.values(held_out.images["workspace"], held_out.instruction)
    assert values.shape == (37,) and values.dtype == np.float32
    assert ((values >= 0) & (values <= 1)).all() and voc(values) > 0.8


def test_labels_are_values_and_are_saved(trained: tuple[Baseline, Path]):
    critic, folder = trained
    episodes = [slide(seed, length) for seed, length in ((50, 40), (51, 3), (52, 1))]
    labels = list(critic.label(iter(episodes)))
    loaded = load_baseline(folder)
    assert loaded.kind == critic.kind and loaded.config == LONGER and loaded.cameras == ("workspace",)
    for episode, label in zip(episodes, labels, strict=True):
        frames = episode.images["workspace"]
        np.testing.assert_allclose(critic.values(frames, episode.instruction), label, atol=1e-6)
        np.testing.assert_array_equal(loaded.values(frames, episode.instruction, fps=20.0), label)


def test_the_tokenizer_is_that_of_the_folder_or_the_given_one(trained: tuple[Baseline, Path], tmp_path: Path):
    critic, folder = trained
    optim = dataclasses.replace(LONGER.optim, updates=10)
    short = dataclasses.replace(LONGER, optim=optim)
    stages = set()
    other = train_baseline(
        critic.kind,
        short,
        EPISODES,
        tmp_path,
        progress=lambda stage, *_: stages.add(stage),
        tokenizer=critic.tokenizer,
    )
    assert stages == {"baseline"}
    for one, two in zip(*(jax.tree.leaves(nnx.state(c.tokenizer)) for c in (critic, other)), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(UserError, match="another configuration or seed"):
        train_baseline(critic.kind, LONGER, EPISODES, folder, seed=1)


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path):
    def die(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        if stage == "baseline" and done == 30:
            raise Killed

    with pytest.raises(Killed):
        train_baseline(TRANSFORMER, MICRO, EPISODES[:4], tmp_path / "killed", progress=die)
    resumed = train_baseline(TRANSFORMER, MICRO, EPISODES[:4], tmp_path / "killed")
    straight = train_baseline(TRANSFORMER, MICRO, EPISODES[:4], tmp_path / "straight")
    for one, two in zip(*(jax.tree.leaves(nnx.state(c.network)) for c in (resumed, straight)), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no baseline critic in"),
        ("{", "is not that of a baseline critic"),
        ('{"baseline": "oracle"}', "is not that of a baseline critic"),
        ('{"baseline": "single_frame", "sizes": {"depth": 3}}', "is not that of a baseline critic"),
    ],
)
def test_folders_of_something_else_are_one_line(tmp_path: Path, text: str | None, message: str):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_baseline(tmp_path)
    assert "\n" not in str(caught.value)


def test_sizes_that_cannot_be_are_one_line():
    with pytest.raises(UserError, match="multiple of heads"):
        FrameTransformerConfig(width=30, heads=4)
    with pytest.raises(UserError, match="at least 1"):
        SingleFrameConfig(layers=0)
