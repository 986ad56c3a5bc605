"""Outcomes that nothing foretells: they are drawn, each as often as it was recorded, and hand and picture agree."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from tests.value_model.imagination.scene import BARE
from value_model.imagination.clips import Frames
from value_model.imagination.config import OutcomeConfig, from_json, to_json
from value_model.imagination.outcome import Outcome, _divergence
from value_model.imagination.regression import Regression
from value_model.imagination.train import fit_hand, train_dynamics

EPISODES, WORLDS = 400, 256
OFTEN = 0.75  # of the episodes end well
DRAWN = dataclasses.replace(BARE, outcome=OutcomeConfig(classes=4, width=32))


def coins(config=DRAWN) -> Frames:
    """Episodes of one step after which latents and proprioception are all 1 or all −1, whatever was done."""
    random, length = np.random.default_rng(0), config.stride + 1
    well = np.where(random.random(EPISODES) < OFTEN, 1.0, -1.0)
    last = np.arange(EPISODES * length) % length == length - 1
    after = np.where(last, np.repeat(well, length), 0.0).astype(np.float32)
    frames, height, width, channels = len(after), *config.latent_shape
    return Frames(
        latents=jnp.broadcast_to(after[:, None, None, None], (frames, height, width, channels)),
        proprio=jnp.broadcast_to(after[:, None], (frames, config.proprio_dim)),
        actions=jnp.asarray(random.uniform(-1, 1, (frames, config.action_dim)), jnp.float32),
        solved=jnp.zeros(frames),
        first=jnp.repeat(jnp.arange(EPISODES) * length, length),
        episode=jnp.repeat(jnp.arange(EPISODES), length),
        words=jnp.zeros((EPISODES, 4), jnp.int32),
        begins=jnp.arange(EPISODES) * length,
    )


def trained(config, folder) -> Regression:
    dynamics, frames = Regression(config, rngs=nnx.Rngs(0)), coins()
    fit_hand(dynamics, frames, config)
    return train_dynamics(dynamics, frames, config, 1, 300, folder, 0)


def begun(dynamics: Regression):
    shape = DRAWN.latent_shape
    state = dynamics.init(
        jnp.zeros((WORLDS, *shape)), jnp.zeros((WORLDS, 2)), jnp.zeros((WORLDS, 4), jnp.int32)
    )
    actions = jax.random.uniform(jax.random.key(1), (WORLDS, DRAWN.stride, 2), minval=-1.0)
    return state, actions, jax.random.split(jax.random.key(2), WORLDS)


@pytest.fixture(scope="module")
def dynamics(tmp_path_factory):
    return trained(DRAWN, tmp_path_factory.mktemp("drawn"))


def test_outcomes_come_as_often_as_recorded_and_hand_and_picture_agree(dynamics, tmp_path):
    state, actions, keys = begun(dynamics)
    after = dynamics.step(state, actions, keys)
    seen, felt = np.asarray(after.latents).mean(axis=(1, 2, 3)), np.asarray(after.proprio).mean(axis=1)
    assert np.mean(np.abs(np.abs(seen) - 1) < 0.3) > 0.9  # one or the other, not their mean
    assert np.mean(np.sign(seen) == np.sign(felt)) > 0.97
    assert np.mean(seen > 0) == pytest.approx(OFTEN, abs=0.1)
    averaged = dataclasses.replace(DRAWN, outcome=OutcomeConfig())
    mean = trained(averaged, tmp_path).step(state, actions)
    np.testing.assert_allclose(np.asarray(mean.latents).mean(), 2 * OFTEN - 1, atol=0.15)


def test_what_was_recorded_tells_the_outcome(dynamics):
    state, actions, keys = begun(dynamics)
    signs = jnp.where(jnp.arange(WORLDS) % 2 == 0, 1.0, -1.0)
    came = jnp.broadcast_to(signs[:, None, None, None], state.latents.shape), jnp.tile(signs[:, None], (1, 2))
    after, apart = dynamics.follow(state, actions, *came, keys)
    np.testing.assert_array_equal(np.sign(np.asarray(after.latents).mean(axis=(1, 2, 3))), signs)
    rare, usual = np.asarray(apart)[1::2].mean(), np.asarray(apart)[::2].mean()
    assert rare == pytest.approx(-np.log(1 - OFTEN), abs=0.5)  # the surprise of what came out, in nats
    assert usual == pytest.approx(-np.log(OFTEN), abs=0.3)


def test_a_world_draws_from_its_own_key(dynamics):
    state, actions, keys = begun(dynamics)
    same = jnp.broadcast_to(keys[:1], keys.shape)
    still = jnp.zeros_like(actions)
    seen = np.asarray(dynamics.step(state, still, same).latents)
    np.testing.assert_array_equal(seen, np.broadcast_to(seen[:1], seen.shape))


def test_the_divergence_is_that_of_kullback_and_leibler():
    one, other = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.5, 0.5]])
    by_hand = [0.5 * np.log(2) + 0.5 * np.log(2 / 3), 0.9 * np.log(1.8) + 0.1 * np.log(0.2)]
    np.testing.assert_allclose(_divergence(jnp.asarray(one), jnp.asarray(other)), by_hand, rtol=1e-5)


def test_the_prior_is_drawn_to_the_posterior_more_than_back():
    """Of the gradient, `balance` parts go to the prior."""
    outcome = Outcome(DRAWN, rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    known = jnp.asarray(random.normal(size=(4, outcome.before.in_features)), jnp.float32)
    came = jnp.asarray(random.normal(size=(4, outcome.came.in_features)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 4)

    def slope(balance: float):
        outcome.balance = balance
        return nnx.grad(lambda module: jnp.sum(module.told(known, came, keys)[1]))(outcome)

    low, high = slope(0.25), slope(0.75)
    np.testing.assert_allclose(
        high["prior_out"]["kernel"][...], 3 * low["prior_out"]["kernel"][...], rtol=1e-4, atol=1e-7
    )
    np.testing.assert_allclose(
        low["posterior_out"]["kernel"][...], 3 * high["posterior_out"]["kernel"][...], rtol=1e-4, atol=1e-7
    )


def test_older_models_draw_nothing_and_bad_settings_are_refused():
    text = to_json(DRAWN)
    assert from_json(text) == DRAWN
    older = text.replace('"outcome"', '"unknown"')
    with pytest.raises(UserError, match="not a world model's"):
        from_json(older)
    fields = json.loads(text)
    del fields["outcome"]
    assert from_json(json.dumps(fields)).outcome.classes == 0
    for words in ({"classes": -1}, {"classes": 1}, {"width": 0}, {"weight": -0.1}, {"balance": 1.0}):
        with pytest.raises(UserError, match="outcome"):
            OutcomeConfig(**words)
