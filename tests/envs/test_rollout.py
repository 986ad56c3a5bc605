"""Rollouts in the real simulator: the same seeds give the same episodes, whatever ran before."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from envs.contract import Start
from envs.errors import UserError
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.tasks import task_spec
from envs.robosuite.vector import RobosuiteScene, robosuite_envs
from envs.rollout import RolloutPool, draw_seed
from envs.store import StoreWriter, open_store
from envs.transplant import transplanted

HORIZON = 24
ROOT = Path(__file__).resolve().parents[2]


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


def lift(workers=2, horizon=HORIZON, execute=8, **scene):
    return RolloutPool(robosuite_envs(RobosuiteScene("lift", horizon=horizon, **scene), workers, execute))


@pytest.fixture(scope="module")
def pool():
    with lift() as opened:
        yield opened


def assert_same(found, expected):
    assert (found.seed, found.success, found.length) == (expected.seed, expected.success, expected.length)
    ours, theirs = found.recording, expected.recording
    for name in ("chunks", "environment_state", "executed", "rewards", "act_seeds"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_array_equal(ours.film.step, theirs.film.step)
    np.testing.assert_array_equal(ours.film.side_by_side(), theirs.film.side_by_side())
    np.testing.assert_array_equal(ours.observation.proprio, theirs.observation.proprio)
    for camera, images in theirs.observation.images.items():
        np.testing.assert_array_equal(ours.observation.images[camera], images)


def test_same_seeds_same_episodes(pool):
    policy = RandomPolicy()
    first = pool.rollout(policy, [3, 1, 2], record=True, film=4)
    again = pool.rollout(policy, [2, 3], record=True, film=4)
    assert_same(again[0], first[2])
    assert_same(again[1], first[0])
    assert policy.rows == {2}
    assert policy.instructions == {task_spec("lift").instructions[0]}
    with lift(workers=1) as other:
        assert_same(other.rollout(RandomPolicy(), [1], record=True, film=4)[0], first[1])


def test_what_is_recorded(pool):
    (one,) = pool.rollout(RandomPolicy(), [5], record=True, film=4, act_seed=7, instruction="hoist the block")
    assert (one.success, one.length, one.repeat) == (False, HORIZON, 0)
    recording = one.recording
    assert len(recording.observation) == 3 and len(recording.last) == 1
    assert set(recording.observation.instruction) == {"hoist the block"}
    assert recording.observation.images["wrist"].shape == (3, 64, 64, 3)
    assert recording.chunks.shape == (3, 10, 7) and recording.executed.tolist() == [8, 8, 8]
    assert recording.environment_state.shape == (3, 8)
    assert recording.act_seeds.tolist() == [draw_seed(7, 5, 0, decision) for decision in range(3)]
    assert recording.rewards.shape == (HORIZON,)
    film = recording.film
    assert film.step.tolist() == [0, 4, 8, 12, 16, 20, 24]
    seen = np.concatenate(list(recording.observation.images.values()), axis=2)
    np.testing.assert_array_equal(film.side_by_side()[::2][:3], seen)  # after steps 0, 8, 16
    np.testing.assert_array_equal(film.images["workspace"][6], recording.last.images["workspace"][0])
    np.testing.assert_array_equal(film.proprio[::2][:3], recording.observation.proprio)
    np.testing.assert_array_equal(film.environment_state[2], recording.environment_state[1])
    assert pool.rollout(RandomPolicy(), [5])[0].recording is None


def test_repeats_of_a_seed_share_only_their_first_state(pool):
    one, other, third = pool.rollout(RandomPolicy(), [4, 4, 9], record=True, film=4)
    assert (one.repeat, other.repeat, third.repeat) == (0, 1, 0)
    np.testing.assert_array_equal(one.recording.environment_state[0], other.recording.environment_state[0])
    np.testing.assert_array_equal(
        one.recording.film.side_by_side()[0], other.recording.film.side_by_side()[0]
    )
    assert (one.recording.chunks != other.recording.chunks).all(axis=(1, 2)).all()
    assert (one.recording.environment_state[0] != third.recording.environment_state[0]).any()
    (moved,) = pool.rollout(RandomPolicy(), [4], record=True, film=4, act_seed=1)
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


def test_success_ends_an_episode_and_the_film_shows_it():
    actions = lifting_actions(0)
    assert len(actions) % 5  # the end is no multiple of the film's interval
    with lift(workers=1, horizon=100) as pool:
        (done,) = pool.rollout(Scripted(actions), [0], record=True, film=5)
        (plain,) = pool.rollout(Scripted(actions), [0], record=True)
    assert done.success and done.length == len(actions)
    recording = done.recording
    assert recording.executed.sum() == len(actions)
    assert recording.rewards.tolist() == [0.0] * (len(actions) - 1) + [1.0] and done.reward == 1.0
    assert recording.film.step.tolist() == [*range(0, len(actions), 5), len(actions)]
    np.testing.assert_array_equal(recording.film.images["wrist"][-1], recording.last.images["wrist"][0])
    height, lifted = recording.film.environment_state[:, 2], recording.film.environment_state[:, 5]
    assert (height > lifted).tolist() == [False] * (len(height) - 1) + [
        True
    ]  # up in the last picture, and only there
    assert plain.recording.film is None
    np.testing.assert_array_equal(plain.recording.actions(), actions)


def test_success_on_the_last_step_of_the_horizon_counts():
    actions = lifting_actions(0)
    for horizon, success in ((len(actions), True), (len(actions) - 1, False)):
        with lift(workers=1, horizon=horizon) as pool:
            (done,) = pool.rollout(Scripted(actions), [0])
        assert (done.success, done.length) == (success, horizon)


def test_a_rollout_becomes_an_episode(tmp_path):
    actions = lifting_actions(0)
    with lift(workers=1, horizon=100, linger=3) as pool:
        (done,) = pool.rollout(Scripted(actions), [0], record=True, film=1, instruction="lift it")
        (failed,) = pool.rollout(RandomPolicy(), [1], record=True, film=1)
        (coarse,) = pool.rollout(RandomPolicy(), [1], record=True, film=4)
        spec = pool.spec
    episode = done.episode(spec, "lift", "Panda")
    length = len(actions) + 3  # it lingers, so that success is seen
    assert done.success and done.length == len(episode) == length
    np.testing.assert_array_equal(episode.actions[: len(actions)], actions)
    assert episode.images["workspace"].shape == (length, 64, 64, 3) and episode.fps == 20
    assert (episode.success, episode.style, episode.seed) == (True, "policy", 0)
    assert episode.instruction == "lift it" and episode.rewards[len(actions) - 1] == 1
    env = RobosuiteEnv("lift")
    observation, _ = env.reset(seed=0)
    for t in range(5):
        np.testing.assert_array_equal(episode.images["wrist"][t], observation["images"]["wrist"])
        np.testing.assert_array_equal(episode.environment_state[t], observation["environment_state"])
        observation = env.step(episode.actions[t])[0]
    env.close()
    with StoreWriter(tmp_path / "data") as writer:
        writer.add(episode)
        writer.add(failed.episode(spec, "lift", "Panda"))
    store = open_store(tmp_path / "data")
    assert [store.episode_info(index).success for index in range(2)] == [True, False]
    np.testing.assert_array_equal(store.episode(0).images["wrist"], episode.images["wrist"])
    with pytest.raises(UserError, match="film=1"):
        coarse.episode(spec, "lift", "Panda")


def test_starts_have_their_own_instruction(pool):
    policy = RandomPolicy()
    pool.rollout(policy, [Start(1, "grasp it"), Start(2)])
    assert policy.instructions == {"grasp it", task_spec("lift").instructions[0]}
    picture = {"workspace": np.zeros((64, 64, 3), np.uint8)}
    with pytest.raises(UserError, match="begins from seeds"):
        pool.rollout(policy, [Start(1, images=picture)])


def test_videos(pool, tmp_path):
    plain = pool.rollout(RandomPolicy(), [1, 2, 3], record=True, film=4)
    filmed = pool.rollout(
        RandomPolicy(), [1, 2, 3], record=True, film=4, video_folder=tmp_path / "videos", videos=2
    )
    for ours, theirs in zip(filmed, plain, strict=True):
        assert_same(ours, theirs)
    names = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert names == ["0000_seed1_failure.mp4", "0001_seed2_failure.mp4"]
    with av.open(str(tmp_path / "videos" / names[0])) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 1 + HORIZON
    assert frames[8].shape == (256, 512, 3)  # enlarged for people
    small = frames[8].reshape(64, 4, 128, 4, 3).mean((1, 3))
    assert np.abs(small - plain[0].recording.film.side_by_side()[2]).mean() < 5


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
        RobosuiteScene("lfit")
    with pytest.raises(UserError, match="unknown robot"):
        RobosuiteScene("lift", "Pandas")
    with pytest.raises(UserError, match="unknown camera 'front'"):
        robosuite_envs(RobosuiteScene("lift", cameras=("front",)), 1)
    with pytest.raises(UserError, match="workers is 0"):
        robosuite_envs(RobosuiteScene("lift"), 0)
    with lift(workers=1, horizon=8, cameras=()) as blind, pytest.raises(UserError, match="no camera to film"):
        blind.rollout(RandomPolicy(), [1], record=True, film=4)


def test_a_worker_that_dies():
    with lift(workers=1) as pool:
        process = pool.envs.processes[0]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with pytest.raises(UserError, match="a simulator process died"):
            pool.rollout(RandomPolicy(), [1])


def test_a_script_without_a_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from envs.robosuite.vector import RobosuiteScene, robosuite_envs\n"
        "from envs.rollout import RolloutPool\n"
        "from tests.envs.test_rollout import RandomPolicy\n"
        "pool = RolloutPool(robosuite_envs(RobosuiteScene('lift', horizon=4, cameras=()), 1))\n"
        "print('rolled', pool.rollout(RandomPolicy(), [1])[0].length)\n"
        "pool.close()\n"
    )
    found = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert found.stdout == "rolled 4\n", found.stderr


def test_what_was_done_in_one_scene_is_done_in_another(pool):
    """Chunk by chunk; then the hand rests, its gripper as it was. Rows without an episode do nothing."""
    recorded = pool.rollout(RandomPolicy(), [5, 6, 7], record=True)
    done = [one.recorded.actions()[:length] for one, length in zip(recorded, (HORIZON, 13, 8), strict=True)]
    actor = transplanted(done, [21, 22, 23], act_seed=4, execute=8, steps=HORIZON)
    again = pool.rollout(actor, [21, 22, 23], act_seed=4, record=True)
    for one, actions in zip(again, done, strict=True):
        found = one.recorded.actions()
        np.testing.assert_array_equal(found[: len(actions)], actions)
        np.testing.assert_array_equal(found[len(actions) :, :-1], 0.0)
        np.testing.assert_array_equal(found[len(actions) :, -1], actions[-1, -1])
    assert not np.array_equal(
        again[0].recorded.environment_state[0], recorded[0].recorded.environment_state[0]
    )
    with pytest.raises(UserError, match="only 3 were recorded"):
        transplanted(done, [1, 2, 3, 4], act_seed=0, execute=8, steps=HORIZON)
