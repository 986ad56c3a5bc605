"""The classifier of solved frames on made-up latents: what is right under one instruction is wrong under the other."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from envs.text import word_ids
from tests.value_model.imagination.scene import MICRO
from value_model.imagination import imagined_frames as imagined
from value_model.imagination.clips import Frames
from value_model.imagination.config import SolvedConfig
from value_model.imagination.regression import Regression
from value_model.imagination.success import train_solved

EPISODES, LENGTH = 40, 10
TOLD = np.stack([word_ids("open the drawer"), word_ids("close the drawer")])


def frames() -> Frames:
    """Episodes of a drawer whose opening is the mean of the latents; every other one is told to close it."""
    random = np.random.default_rng(0)
    opening = np.sign(random.normal(size=EPISODES * LENGTH))
    episode = np.repeat(np.arange(EPISODES), LENGTH)
    latents = opening[:, None, None, None] + 0.5 * random.normal(size=(len(opening), *MICRO.latent_shape))
    told = np.arange(EPISODES) // 2 % 2
    return Frames(
        latents=jnp.asarray(latents, jnp.float16),
        proprio=jnp.asarray(random.normal(size=(len(opening), 2)), jnp.float32),
        actions=jnp.zeros((len(opening), 2)),
        solved=jnp.asarray((opening > 0) == (told[episode] == 0), jnp.float32),
        first=jnp.asarray(episode * LENGTH),
        episode=jnp.asarray(episode),
        words=jnp.asarray(TOLD[told]),
        begins=jnp.arange(0),
    )


@pytest.mark.parametrize("told", [True, False])
def test_one_frame_under_two_instructions(tmp_path, told):
    config = dataclasses.replace(MICRO, solved=SolvedConfig(width=16, updates=200, batch=32, told=told))
    data = frames()
    solved, quality = train_solved(data, config, tmp_path, 0)
    assert solved is not None
    said = [np.asarray(solved(data.latents[:20], data.proprio[:20], jnp.tile(one, (20, 1)))) for one in TOLD]
    if told:
        np.testing.assert_array_equal(said[0], np.asarray(data.latents[:20].mean((1, 2, 3)) > 0))
        np.testing.assert_array_equal(said[0], ~said[1])
        assert quality["f1"] > 0.95
    else:
        np.testing.assert_array_equal(said[0], said[1])
        assert quality["f1"] < 0.8


def test_imagined_frames_are_the_model_s_own_with_what_was_true(monkeypatch):
    monkeypatch.setattr(imagined, "MOST", 12)
    config = dataclasses.replace(MICRO, stride=2, solved=SolvedConfig(steps=3))
    data, dynamics = frames(), Regression(config, rngs=nnx.Rngs(0))
    data = data._replace(actions=jnp.asarray(np.random.default_rng(1).uniform(-1, 1, data.actions.shape)))
    found = imagined.imagined_frames(dynamics, data, config, 0)
    assert len(found.solved) == 12 and set(np.asarray(found.solved).tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(found.first, np.asarray(found.episode) * LENGTH)
    for row in (0, 7):
        same = np.flatnonzero((data.actions == found.actions[row]).all(1))
        [end] = same.tolist()
        assert data.solved[end] == found.solved[row] and data.episode[end] == found.episode[row]
        first, reached = int(data.first[end]), []
        for steps in range(1, 1 + min(3, (end - first) // 2)):
            start = end - 2 * steps
            state = dynamics.init(
                data.latents[first][None], data.proprio[start][None], data.words[data.episode[end]][None]
            )
            state = state._replace(
                previous=data.latents[max(first, start - 2)][None].astype(jnp.float32),
                latents=data.latents[start][None].astype(jnp.float32),
            )
            for now in range(start, end, 2):
                state = dynamics.step(state, data.actions[now : now + 2][None])
            reached.append(np.abs(state.latents[0] - found.latents[row]).max())
        assert min(reached) < 2e-3 < sorted(reached)[-1] or len(reached) == 1


def test_a_classifier_that_has_seen_imagined_frames_judges_them(tmp_path):
    """In imagination the drawer looks half as open."""
    data = frames()
    data = data._replace(solved=jnp.asarray(data.latents.mean((1, 2, 3)) > 0, jnp.float32))
    faint = data._replace(latents=(data.latents * 0.1 - 0.3).astype(jnp.float16))
    config = dataclasses.replace(MICRO, solved=SolvedConfig(width=16, updates=200, batch=32))
    for name, more in (("alone", None), ("both", faint)):
        solved, quality = train_solved(data, config, tmp_path / name, 0, imagined=more)
        words = data.words[data.episode]
        right = np.asarray(solved(faint.latents, faint.proprio, words)) == (np.asarray(data.solved) == 1)
        assert (right.mean() > 0.95) == (more is not None)
        assert ("imagined_f1" in quality) == (more is not None) and quality["f1"] > 0.95
