"""The classifier of solved frames on made-up latents: what is right under one instruction is wrong under the other."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from envs.text import word_ids
from tests.value_model.imagination.scene import MICRO
from value_model.imagination.clips import Frames
from value_model.imagination.config import SolvedConfig
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
