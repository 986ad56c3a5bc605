"""Imagined worlds as an environment, on a world model with random weights."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from envs.check import check_envs
from envs.contract import Start
from envs.errors import UserError
from envs.rollout import RolloutPool
from tests.value_model.imagination.scene import MICRO, drawn, push
from value_model.imagination.clips import encode_frames
from value_model.imagination.environment import ImaginedEnvs
from value_model.imagination.eyes import Eyes, EyesConfig
from value_model.imagination.regression import Regression
from value_model.imagination.starts import StartBank, draw_starts
from value_model.imagination.success import Solved
from value_model.imagination.world_model import WorldModel
from value_model.imagination.worlds import Worlds
from value_model.video.encoder import FrameEncoder
from value_model.video.tokenizer import Tokenizer

PICTURES = Worlds.pictures
TOLD = "push the red square to the right"


@pytest.fixture(scope="module")
def world():
    rngs = nnx.Rngs(0)
    tokenizer = Tokenizer(MICRO.tokenizer, rngs=rngs)
    frames, told = encode_frames(
        FrameEncoder(MICRO, 20.0, tokenizer), [push(seed) for seed in range(3)], MICRO
    )
    dynamics, solved = Regression(MICRO, rngs=rngs), Solved(MICRO, rngs=rngs)
    return WorldModel(MICRO, tokenizer, dynamics, solved, {"f1": 1.0}, draw_starts(frames, told, 0))


def envs(world, rows=3, horizon=24, execute=8, **settings):
    bank = world.starts.of((TOLD,), "all")
    return ImaginedEnvs(world, world.spec(TOLD, horizon), bank, rows, execute, **settings)


@pytest.fixture(scope="module")
def seeing(world):
    """The same worlds, with eyes of random weights that give three numbers."""
    eyes = Eyes(MICRO, EyesConfig(width=8), "abc", 3, rngs=nnx.Rngs(1))
    return WorldModel(MICRO, world.tokenizer, world.dynamics, world.solved, {"f1": 1.0}, world.starts, eyes)


def say(world, verdict):
    """Let the classifier say yes to every frame, or to none."""
    world.solved.threshold[...] = jnp.float32(0.0 if verdict else 1.1)


@pytest.mark.parametrize("execute", [4, 8])
@pytest.mark.parametrize("verdict", [True, False])
def test_it_is_an_environment(world, execute, verdict):
    say(world, verdict)
    check_envs(envs(world, execute=execute))


@pytest.mark.parametrize("execute", [4, 8])
def test_with_eyes_it_is_one_too(seeing, execute):
    say(seeing, False)
    assert seeing.spec(TOLD, 24).seen == {"abc": 3}
    check_envs(envs(seeing, execute=execute))


class Blind:
    """Acts by what eyes saw, and never looks at a picture."""

    def __init__(self):
        self.seen = []

    def act(self, observation, seeds):
        self.seen.append(observation.seen["abc"])
        return np.zeros((len(observation), 4, 2), np.float32)


def test_what_eyes_see_is_that_of_the_latents_and_no_picture_is_decoded(seeing, monkeypatch):
    say(seeing, False)
    decoded = []
    monkeypatch.setattr(
        Worlds, "pictures", lambda self, latents: decoded.append(len(latents)) or PICTURES(self, latents)
    )
    actor = Blind()
    with RolloutPool(envs(seeing, rows=2, horizon=8, execute=4)) as pool:
        rollouts = pool.rollout(actor, [3, 4], record=True)
    assert not decoded and len(actor.seen) == 2
    recording = rollouts[0].recording
    np.testing.assert_array_equal(recording.observation.seen["abc"], [seen[0] for seen in actor.seen])
    source = recording.observation.images.source
    expected = seeing.eyes(jnp.asarray(source), jnp.asarray(recording.observation.proprio))
    np.testing.assert_allclose(recording.observation.seen["abc"], expected, rtol=1e-4, atol=1e-5)
    picture = recording.observation[np.array([1])].images["workspace"]
    assert decoded == [1]
    assert np.abs(picture[0].astype(int) - seeing.decode(source[1:])[0]).max() <= 1
    with RolloutPool(envs(seeing, rows=2, horizon=8, execute=4)) as pool:
        filmed = pool.rollout(actor, [3, 4], record=True, film=8)[0].recording.film
    assert decoded == [1, 2, 2] and filmed.step.tolist() == [
        0,
        8,
    ]  # the first and the last moments of two rows


def test_more_worlds_than_a_block_are_the_same_worlds(world, monkeypatch):
    say(world, False)
    few = envs(world, 5)
    monkeypatch.setattr("value_model.imagination.environment.BLOCK", 2)
    many = envs(world, 5)
    chunk = np.random.default_rng(0).uniform(-1, 1, (5, 8, 2)).astype(np.float32)
    shown = []
    for one in (few, many):
        one.reset(seed=[3, 1, 4, 1, 5])
        shown.append(one.step(chunk)[0])
    np.testing.assert_allclose(shown[0]["proprio"], shown[1]["proprio"], rtol=1e-5)
    assert np.abs(shown[0]["images"]["workspace"].astype(int) - shown[1]["images"]["workspace"]).max() <= 1


def test_success_counts_from_a_minimum_on_and_when_it_holds(world):
    say(world, True)
    ended = {}
    for minimum, hold in ((0, 1), (8, 1), (0, 3)):
        one = envs(world, 1, execute=4, minimum=minimum, hold=hold)
        one.reset(seed=0)
        for _ in range(6):
            _, reward, terminated, truncated, info = one.step(np.zeros((1, 4, 2), np.float32))
            if terminated[0]:
                break
        assert reward.tolist() == [1.0] and not truncated[0] and info["success"].tolist() == [True]
        ended[minimum, hold] = int(one._steps[0])
    assert ended == {(0, 1): 4, (8, 1): 8, (0, 3): 12}


def test_an_episode_solved_within_a_chunk_stops_there(world):
    say(world, True)
    one = envs(world, 1, execute=8, minimum=0)
    one.reset(seed=0, options={"film": np.array([4])})
    _, reward, terminated, _, info = one.step(np.zeros((1, 8, 2), np.float32))
    assert terminated[0] and info["executed"].tolist() == [4] and reward.tolist() == [1.0]
    assert info["rewards"][0].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert info["film"]["count"].tolist() == [1] and info["film"]["step"][0, 0] == 4


def test_it_begins_from_any_picture(world):
    picture, place = drawn(np.array([10.0, 12.0])), np.array([10.0, 12.0], np.float32)
    one = envs(world, 2)
    start = Start(7, TOLD, {"workspace": picture}, place)
    shown, _ = one.reset(seed=[7, 7], options={"starts": [start, Start(7, TOLD, {"workspace": picture})]})
    latents = world.encoder.encode(picture[None])
    expected = one._blocks[0][1].pictures(latents)["workspace"][0]
    np.testing.assert_array_equal(shown["images"]["workspace"][0], expected)
    np.testing.assert_array_equal(shown["proprio"][0], place)
    assert np.isfinite(shown["proprio"][1]).all()  # not said: the mean of where episodes begin


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (Start(0, TOLD, {"wrist": np.zeros((32, 32, 3), np.uint8)}), "shows no 'workspace'"),
        (Start(0, TOLD, {"workspace": np.zeros((32, 32), np.uint8)}), "shape"),
        (Start(0, TOLD, {"workspace": np.zeros((32, 32, 3), np.uint8)}, np.zeros(5)), "proprioception"),
        (Start(0, "?!"), "has no words"),
    ],
)
def test_a_start_that_does_not_fit_is_one_line(world, start, message):
    with pytest.raises(UserError, match=message) as caught:
        envs(world, 1).reset(seed=[0], options={"starts": [start]})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"execute": 5}, "take a multiple"), ({"horizon": 30}, "horizon is 30"), ({"rows": 0}, "at least 1")],
)
def test_steps_that_do_not_fit_are_one_line(world, settings, message):
    with pytest.raises(UserError, match=message):
        envs(world, **settings)


def test_what_becomes_nan_is_one_line(world):
    broken = dataclasses.replace(MICRO)
    dynamics = Regression(broken, rngs=nnx.Rngs(0))
    dynamics.hand.change[...] = jnp.full(2, jnp.nan)
    worlds = WorldModel(broken, world.tokenizer, dynamics, None, {}, world.starts)
    one = ImaginedEnvs(worlds, worlds.spec(TOLD, 24), world.starts, 1, 4)
    one.reset(seed=[0])
    with pytest.raises(UserError, match="became NaN"):
        one.step(np.zeros((1, 4, 2), np.float32))


def test_a_world_without_a_classifier_does_not_know(world):
    unknown = WorldModel(MICRO, world.tokenizer, world.dynamics, None, {}, world.starts)
    with RolloutPool(ImaginedEnvs(unknown, unknown.spec(TOLD, 8), world.starts, 2, 4)) as pool:
        [rollout] = pool.rollout(Still(), [3], record=True, film=4)
    assert rollout.success is None and rollout.length == 8
    assert rollout.recording.film.step.tolist() == [0, 4, 8]


class Still:
    def act(self, observation, seeds):
        return np.zeros((len(observation), 4, 2), np.float32)


def test_starts_are_drawn_among_those_of_the_instruction(world):
    bank = world.starts
    other = StartBank(bank.latents[:2], bank.proprio[:2] + 100, bank.frame[:2], ("open it", "open it"))
    both = bank.beside(other)
    assert {both.draw(seed, "open it") - len(bank) for seed in range(20)} == {0, 1}
    assert all(both.draw(seed, TOLD) < len(bank) for seed in range(20))
    assert max(both.draw(seed, "never heard") for seed in range(60)) >= len(bank)
    assert [bank.draw(seed) for seed in range(9)] == [bank.draw(seed, TOLD) for seed in range(9)]
