"""Frames made sharp: drawn from the mean that a regression foretells. (A whole training is in tests/value_model/joint.)"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from tests.experiments.imagined import random_world
from tests.value_model.imagination.scene import BARE
from tests.value_model.imagination.test_outcome import OFTEN, begun, coins
from value_model.imagination.benchmark import drawn_in, draws
from value_model.imagination.config import PRESETS, from_json, to_json
from value_model.imagination.kinds import new_dynamics
from value_model.imagination.refine import Refined
from value_model.imagination.refine_config import RefineConfig
from value_model.imagination.refine_training import train_refiner
from value_model.imagination.train import fit_hand, train_dynamics

REFINED = dataclasses.replace(BARE, refine=RefineConfig(steps=2, layers=1, updates=400, noise=1.0))


def test_what_is_shown_may_be_and_the_mean_goes_on(tmp_path):
    """All 1 with three in four, all −1 else: the mean is .5, and no frame that was recorded looks like it."""
    frames, config = coins(), REFINED
    dynamics = new_dynamics(config, rngs=nnx.Rngs(0))
    assert isinstance(dynamics, Refined)
    fit_hand(dynamics, frames, config)
    dynamics.mean = train_dynamics(dynamics.mean, frames, config, 1, 200, tmp_path / "mean", 0)
    one = dataclasses.replace(config, unroll=dataclasses.replace(config.unroll, steps=1))
    dynamics = train_refiner(dynamics, frames, one, tmp_path / "refine", 0)
    state, actions, keys = begun(dynamics)
    after = dynamics.step(state, actions, keys)
    shown = np.asarray(after.latents).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(np.asarray(after.mean.latents).mean(), 2 * OFTEN - 1, atol=0.15)
    assert np.mean(np.abs(shown) > 0.75) > 0.7  # one or the other
    assert np.mean(shown > 0) == pytest.approx(OFTEN, abs=0.12)
    np.testing.assert_array_equal(after.latents, dynamics.step(state, actions, keys).latents)
    others = jax.random.split(jax.random.key(9), len(keys))
    elsewhere = dynamics.step(state, actions, others)
    np.testing.assert_array_equal(elsewhere.mean.latents, after.mean.latents)
    assert np.abs(np.asarray(elsewhere.latents) - np.asarray(after.latents)).max() > 0.5


def test_one_step_is_the_networks_own_answer():
    dynamics = new_dynamics(dataclasses.replace(REFINED, refine=RefineConfig(steps=1)), rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    shape = (2, *REFINED.latent_shape)
    mean, last, noise = (jnp.asarray(random.normal(size=shape), jnp.float32) for _ in range(3))
    told = dynamics.mean.condition(jnp.zeros((2, 2)), jnp.zeros((2, REFINED.stride, 2)))
    text = dynamics.mean.text(jnp.zeros((2, 4), jnp.int32))
    begin = mean + dynamics.refiner.noise * noise
    expected = dynamics.refiner.clean(begin, jnp.zeros(2), mean, last, told, text)
    np.testing.assert_allclose(dynamics.refiner.draw(noise, mean, last, told, text), expected, atol=1e-5)


def test_the_same_weights_draw_in_any_number_of_steps():
    world = random_world(config=REFINED)
    four = drawn_in(world, 4)
    assert four.config.refine.steps == 4 and draws(four)
    same = jax.tree.map(np.array_equal, nnx.state(four.dynamics), nnx.state(world.dynamics))
    assert all(jax.tree.leaves(same))
    state, actions, keys = begun(world.dynamics)
    drawn, again = four.dynamics.step(state, actions, keys), world.dynamics.step(state, actions, keys)
    np.testing.assert_array_equal(drawn.mean.latents, again.mean.latents)
    assert np.abs(np.asarray(drawn.latents) - np.asarray(again.latents)).max() > 1e-3
    with pytest.raises(UserError, match="at least 1"):
        drawn_in(world, 0)
    with pytest.raises(UserError, match="model=refined"):
        drawn_in(random_world(config=BARE), 2)


def test_settings():
    assert from_json(to_json(REFINED)) == REFINED and PRESETS["refined"].refine.steps == 1
    for words in ({"steps": -1}, {"noise": 0.0}, {"layers": 0}, {"updates": 0}):
        with pytest.raises(UserError, match=r"refine\."):
            RefineConfig(**words)
    with pytest.raises(UserError, match=r"leave refine\.steps=0"):
        dataclasses.replace(PRESETS["flow"], refine=RefineConfig(steps=1))
