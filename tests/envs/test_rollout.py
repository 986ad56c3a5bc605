"""Rollouts in the real simulator: the same seeds give the same episodes, whatever ran before."""

import os
import signal

import av
import numpy as np
import pytest

from envs.errors import UserError
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.tasks import task_spec
from envs.robosuite.vector import ChunkEnv, make_vector_env
from envs.rollout import RolloutPool, draw_seed, rollout

HORIZON = 24


class RandomPolicy:
    """Uniform actions that depend on the seeds alone."""

    def __init__(self, horizon=10):
        self.horizon = horizon
        self.rows = set()
        self.instructions = set()

    def act(self, observation, seeds):
        self.rows.add(len(observation))
        self.instructions |= set(observation.instruction)
        draws = [np.random.default_rng(seed).uniform(-1, 1, (self.horizon, 7)) for seed in seeds]
        return np.stack(draws).astype(np.float32)


@pytest.fixture(scope="module")
def pool():
    with RolloutPool("lift", workers=2, horizon=HORIZON, frame_every=4) as opened:
        yield opened


def assert_same(found, expected):
    assert (found.seed, found.success, found.length) == (expected.seed, expected.success, expected.length)
    ours, theirs = found.recording, expected.recording
    for name in ("chunks", "environment_state", "executed", "act_seeds", "frames"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_array_equal(ours.observation.proprio, theirs.observation.proprio)
    for camera, images in theirs.observation.images.items():
        np.testing.assert_array_equal(ours.observation.images[camera], images)


def test_same_seeds_same_episodes(pool):
    policy = RandomPolicy()
    first = pool.rollout(policy, [3, 1, 2], record=True)
    again = pool.rollout(policy, [2, 3], record=True)
    assert_same(again[0], first[2])
    assert_same(again[1], first[0])
    assert policy.rows == {2}
    assert policy.instructions == {task_spec("lift").instructions[0]}
    with RolloutPool("lift", workers=1, horizon=HORIZON, frame_every=4) as other:
        assert_same(other.rollout(RandomPolicy(), [1], record=True)[0], first[1])


def test_what_is_recorded(pool):
    (one,) = pool.rollout(RandomPolicy(), [5], record=True, act_seed=7, instruction="hoist the block")
    assert (one.success, one.length, one.repeat) == (False, HORIZON, 0)
    recording = one.recording
    assert len(recording.observation) == 3 and len(recording.last) == 1
    assert set(recording.observation.instruction) == {"hoist the block"}
    assert recording.observation.images["wrist"].shape == (3, 64, 64, 3)
    assert recording.chunks.shape == (3, 10, 7) and recording.executed.tolist() == [8, 8, 8]
    assert recording.environment_state.shape == (3, 8)
    assert recording.act_seeds.tolist() == [draw_seed(7, 5, 0, decision) for decision in range(3)]
    assert recording.frames.shape == (1 + HORIZON // 4, 64, 128, 3)
    seen = np.concatenate(list(recording.observation.images.values()), axis=2)
    np.testing.assert_array_equal(recording.frames[::2][:3], seen)  # after steps 0, 8, 16
    np.testing.assert_array_equal(recording.frames[6, :, :64], recording.last.images["workspace"][0])
    assert pool.rollout(RandomPolicy(), [5])[0].recording is None


def test_repeats_of_a_seed_share_only_their_first_state(pool):
    one, other, third = pool.rollout(RandomPolicy(), [4, 4, 9], record=True)
    assert (one.repeat, other.repeat, third.repeat) == (0, 1, 0)
    np.testing.assert_array_equal(one.recording.environment_state[0], other.recording.environment_state[0])
    np.testing.assert_array_equal(one.recording.frames[0], other.recording.frames[0])
    assert (one.recording.chunks != other.recording.chunks).all(axis=(1, 2)).all()
    assert (one.recording.environment_state[0] != third.recording.environment_state[0]).any()
    (moved,) = pool.rollout(RandomPolicy(), [4], record=True, act_seed=1)
    assert (moved.recording.chunks != one.recording.chunks).any()


def test_draws_differ_in_every_argument():
    draws = {draw_seed(*arguments) for arguments in np.ndindex(3, 3, 3, 3)}
    assert len(draws) == 81 and all(0 <= draw < 2**31 for draw in draws)


class Scripted:
    """Plays actions that were found beforehand."""

    def __init__(self, actions, execute=8):
        self.actions, self.execute, self.calls = actions, execute, 0

    def act(self, observation, seeds):
        start = self.calls * self.execute
        self.calls += 1
        chunk = np.zeros((10, 7), np.float32)
        part = self.actions[start : start + 10]
        chunk[: len(part)] = part
        return np.repeat(chunk[None], len(observation), axis=0)


def lifting_actions(seed):
    """Actions that lift the cube, and the number of steps after which it is up."""
    env = RobosuiteEnv("lift", cameras=())
    observation, _ = env.reset(seed=seed)
    base = env.data.body(env.robosuite.robots[0].robot_model.root_body).xpos.copy()
    actions = []
    for step in range(100):
        cube = observation["environment_state"][:3] - base
        goal = cube.copy()
        goal[2] += 0.08 if step < 20 else 0.0 if step < 35 else 0.2
        if step >= 35:
            goal[:2] = observation["proprio"][:2]
        move = (
            np.clip(20 * (goal - observation["proprio"][:3]), -1, 1) if not 35 <= step < 45 else np.zeros(3)
        )
        actions.append(np.concatenate([move, np.zeros(3), [1.0 if step >= 35 else -1.0]]).astype(np.float32))
        _, success = env.advance(actions[-1])
        observation = env.observe()
        if success:
            break
    env.close()
    assert success
    return np.stack(actions)


def test_success_ends_an_episode():
    actions = lifting_actions(0)
    with RolloutPool("lift", workers=1, horizon=100) as pool:
        (done,) = pool.rollout(Scripted(actions), [0], record=True)
    assert done.success and done.length == len(actions)
    assert done.recording.executed.sum() == len(actions)
    assert done.recording.frames.shape[0] == 0


def test_videos(pool, tmp_path):
    plain = pool.rollout(RandomPolicy(), [1, 2, 3], record=True)
    filmed = pool.rollout(RandomPolicy(), [1, 2, 3], record=True, video_folder=tmp_path / "videos", videos=2)
    for ours, theirs in zip(filmed, plain, strict=True):
        assert_same(ours, theirs)
    names = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert names == ["0000_seed1_failure.mp4", "0001_seed2_failure.mp4"]
    with av.open(str(tmp_path / "videos" / names[0])) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 1 + HORIZON
    assert np.abs(frames[8].astype(int) - plain[0].recording.frames[2]).mean() < 5


def test_progress_counts_episodes(pool):
    ended = []
    pool.rollout(RandomPolicy(), [1, 2, 3], progress=ended.append)
    assert ended == [1, 1, 1]
    assert pool.rollout(RandomPolicy(), []) == []


class Returns:
    """Gives the same array whatever it sees."""

    def __init__(self, value):
        self.value = value

    def act(self, observation, seeds):
        return self.value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.full((2, 10, 7), np.nan, np.float32), "Returns.act gave NaN"),
        (np.zeros((1, 10, 7), np.float32), r"of shape \(1, 10, 7\); give \[2, H, 7\] with H >= 8"),
        (np.zeros((2, 7, 7), np.float32), r"of shape \(2, 7, 7\)"),
        (np.zeros((2, 10, 6), np.float32), r"of shape \(2, 10, 6\)"),
        (np.zeros((2, 7), np.float32), r"of shape \(2, 7\)"),
    ],
)
def test_wrong_actions(pool, value, words):
    with pytest.raises(UserError, match=words):
        pool.rollout(Returns(value), [1, 2])


def test_wrong_settings(pool):
    with pytest.raises(UserError, match="seed -1 is negative"):
        pool.rollout(RandomPolicy(), [-1])
    with pytest.raises(UserError, match="unknown task 'lfit'"):
        RolloutPool("lfit")
    with pytest.raises(UserError, match="unknown robot"):
        make_vector_env("lift", "Pandas")
    with pytest.raises(UserError, match="unknown camera 'front'"):
        make_vector_env("lift", count=1, cameras=("front",))
    with pytest.raises(UserError, match="workers is 0"):
        make_vector_env("lift", count=0)


def test_one_call_and_a_worker_that_dies():
    with RolloutPool("lift", workers=1, horizon=HORIZON) as pool:
        process = pool._vector.processes[0]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with pytest.raises(UserError, match="a simulator process died"):
            pool.rollout(RandomPolicy(), [1])
    (one,) = rollout(RandomPolicy(), "lift", "Panda", [1], workers=1, horizon=8)
    assert one.length == 8


def test_chunk_env_stops_at_the_horizon():
    env = ChunkEnv(RobosuiteEnv("lift", horizon=10), execute=8, frame_every=3)
    assert env.action_space.shape == (8, 7)
    _, info = env.reset(seed=0)
    assert info["frame_count"] == 1 and info["executed"] == 0
    chunk = np.zeros((8, 7), np.float32)
    _, reward, terminated, truncated, info = env.step(chunk)
    assert (reward, terminated, truncated, info["executed"], info["frame_count"]) == (0.0, False, False, 8, 2)
    last, _, _, truncated, info = env.step(chunk)
    assert truncated and (info["executed"], info["frame_count"]) == (2, 1)
    again, _, _, truncated, info = env.step(chunk)
    assert truncated and info["executed"] == 0
    np.testing.assert_array_equal(again["proprio"], last["proprio"])
    env.close()
