"""A hand that is blocked stays blocked: what nothing but the step before tells."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.value_model.imagination.scene import BARE
from value_model.imagination.clips import Frames, sample_clips
from value_model.imagination.config import OutcomeConfig, UnrollConfig
from value_model.imagination.hand_training import train_hand
from value_model.imagination.regression import Regression
from value_model.imagination.train import fit_hand, train_dynamics

EPISODES, STEPS = 200, 3
REMEMBERS = dataclasses.replace(
    BARE,
    hand=dataclasses.replace(BARE.hand, memory=True),
    unroll=dataclasses.replace(BARE.unroll, begin=0.0),
)


def pushed(config=REMEMBERS) -> Frames:
    """Every action pushes alike, by 1 a step, and no picture differs, but in every other episode the hand is blocked."""
    length, random = STEPS * config.stride + 1, np.random.default_rng(0)
    frames = EPISODES * length
    episode, number = np.divmod(np.arange(frames), length)
    start = random.uniform(-1, 1, (EPISODES, 1))[episode]
    place = start + np.where(episode % 2 == 0, number / config.stride, 0.0)[:, None]
    return Frames(
        latents=jnp.zeros((frames, *config.latent_shape)),
        proprio=jnp.asarray(np.broadcast_to(place, (frames, config.proprio_dim)), jnp.float32),
        actions=jnp.ones((frames, config.action_dim)),
        solved=jnp.zeros(frames),
        first=jnp.asarray(episode * length),
        episode=jnp.asarray(episode),
        words=jnp.zeros((EPISODES, 4), jnp.int32),
        begins=jnp.asarray(np.flatnonzero(number == config.stride)),
    )


@pytest.mark.parametrize(("memory", "blocked", "free"), [(True, 0.0, 1.0), (False, 0.5, 0.5)])
def test_a_blocked_hand_stays_blocked(memory, blocked, free, tmp_path):
    config = dataclasses.replace(REMEMBERS, hand=dataclasses.replace(REMEMBERS.hand, memory=memory))
    data, dynamics = pushed(), Regression(config, rngs=nnx.Rngs(0))
    fit_hand(dynamics, data, config)
    dynamics = train_dynamics(dynamics, data, config, 1, 300, tmp_path, 0)
    nothing = jnp.zeros((2, *config.latent_shape))
    state = dynamics.init(nothing, jnp.full((2, 2), 0.5), jnp.zeros((2, 4), jnp.int32))
    speed = 1 / config.stride
    state = state._replace(moved=jnp.asarray([[0.0, 0.0], [speed, speed]]))
    after = dynamics.step(state, jnp.ones((2, config.stride, 2)))
    np.testing.assert_allclose(np.asarray(after.proprio).mean(1) - 0.5, [blocked, free], atol=0.15)
    if memory:
        np.testing.assert_allclose(np.asarray(after.moved).mean(1), [0.0, speed], atol=0.15 * speed)
    else:
        np.testing.assert_array_equal(after.moved, state.moved)


def test_a_clip_knows_how_the_hand_moved_unless_it_begins_where_nothing_is_known():
    data = pushed()
    clip = sample_clips(data, jax.random.key(0), 64, 1, REMEMBERS)
    moves = np.asarray(clip.proprio[:, 1] - clip.proprio[:, 0]) / REMEMBERS.stride
    np.testing.assert_allclose(clip.moved[:, 1], moves, atol=1e-6)
    known = np.any(np.asarray(clip.moved[:, 0]) != 0, axis=1) | (moves[:, 0] == 0)
    assert 0.7 < known.mean() < 1  # the anchor of the others is their first frame, and nothing was before it
    begun = dataclasses.replace(REMEMBERS, unroll=dataclasses.replace(REMEMBERS.unroll, begin=1.0))
    np.testing.assert_array_equal(sample_clips(data, jax.random.key(0), 64, 1, begun).moved[:, 0], 0.0)


def test_a_hand_trained_alone_leaves_the_picture_as_it_is(tmp_path):
    own = dataclasses.replace(REMEMBERS.hand, updates=400, batch=64)
    config = dataclasses.replace(
        REMEMBERS,
        hand=own,
        outcome=OutcomeConfig(classes=2, width=8),
        unroll=UnrollConfig(steps=1, begin=0.0),
    )
    data, dynamics = pushed(), Regression(config, rngs=nnx.Rngs(0))
    fit_hand(dynamics, data, config)
    others = nnx.state(dynamics, nnx.All(nnx.Param, nnx.Not(nnx.PathContains("hand"))))
    before = jax.tree.map(np.array, others)
    train_hand(dynamics, data, config, tmp_path, 0)
    place, speed = jnp.full((2, 2), 0.5), jnp.asarray([[0.0, 0.0], [0.25, 0.25]])
    for drawn in jnp.eye(2):
        told = jnp.stack([drawn, drawn])
        after, moved = dynamics.hand(place, jnp.ones((2, config.stride, 2)), speed, told)
        np.testing.assert_allclose(np.asarray(after) - 0.5, [[0.0, 0.0], [1.0, 1.0]], atol=0.12)
        np.testing.assert_allclose(moved, speed, atol=0.03)
    jax.tree.map(np.testing.assert_array_equal, before, others)


def test_a_picture_is_led_by_the_hand_unless_its_actions_are_dropped():
    """Two hands that differ in nothing but where the actions bring them give other pictures."""
    config = dataclasses.replace(REMEMBERS, hand=dataclasses.replace(REMEMBERS.hand, leads=True))
    dynamics = Regression(config, rngs=nnx.Rngs(0))
    random = nnx.Rngs(1)
    moved = jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(random(), leaf.shape), nnx.state(dynamics, nnx.Param)
    )
    nnx.update(dynamics, moved)
    state = dynamics.init(
        jnp.ones((1, *config.latent_shape)), jnp.full((1, 2), 0.5), jnp.zeros((1, 4), jnp.int32)
    )
    actions, key = jnp.ones((1, config.stride, 2)), jax.random.split(jax.random.key(0), 1)

    def shown(place: float, dropped: bool) -> np.ndarray:
        came = jnp.full((1, 2), place)
        after, _ = dynamics.follow(state, actions, state.latents, came, key, jnp.full(1, dropped))
        return np.asarray(after.latents)

    assert np.abs(shown(0.5, False) - shown(0.9, False)).max() > 1e-3
    np.testing.assert_array_equal(shown(0.5, True), shown(0.9, True))
