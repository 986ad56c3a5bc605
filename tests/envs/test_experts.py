"""Experts do what their style says, say where, and do the same again."""

import json

import numpy as np
import pytest

from envs.errors import UserError
from envs.experts import demonstrate, fits_intent
from envs.experts.measure import main
from envs.experts.rotations import about, about_vertical, pointing, rotation_vector, wrap
from envs.robosuite.env import RobosuiteEnv
from envs.types import STYLES

HAND, OPENING = slice(0, 3), 7  # columns of the proprioception
OBJECT = slice(0, 3)  # columns of the environment's state


@pytest.fixture(scope="module")
def stack():
    env = RobosuiteEnv("stack", cameras=())
    yield env
    env.close()


def fitting(env, style, count):
    """The first demonstrations of a style that end as they mean to; nearly all do."""
    episodes = [demonstrate(env, style, seed) for seed in range(count + 2)]
    episodes = [episode for episode in episodes if fits_intent(episode)]
    assert len(episodes) >= count
    return episodes[:count]


@pytest.mark.parametrize("style", STYLES)
def test_style_ends_as_meant(stack, style):
    for episode in fitting(stack, style, 2):
        assert (episode.style, episode.task, episode.robot, episode.fps) == (style, "stack", "Panda", 20.0)
        assert episode.success == (style != "failure") == bool(episode.rewards.any())
        assert 60 < len(episode) < 220
        assert episode.actions.shape == (len(episode), 7) and episode.actions.dtype == np.float32
        assert np.abs(episode.actions).max() <= 1
        assert set(np.unique(episode.rewards)) <= {0.0, 1.0}
        assert len(episode.proprio) == len(episode.environment_state) == len(episode.rewards) == len(episode)
        assert [s.kind for s in episode.segments] == [style] * (style in ("hesitation", "retry"))


def test_clean_success_is_early_and_followed_by_a_short_retreat(stack):
    for episode in fitting(stack, "clean", 3):
        assert 5 <= episode.rewards.sum() <= 20
        assert len(episode) < 125


def test_hesitation_leads_nowhere(stack):
    for episode in fitting(stack, "hesitation", 5):
        (segment,) = episode.segments
        assert 15 <= segment.end - segment.start + 1 <= 40
        hand = episode.proprio[segment.start : segment.end + 1, HAND]
        assert np.linalg.norm(hand - hand[0], axis=1).max() < 0.06
        assert np.linalg.norm(hand[-5:].mean(0) - hand[:5].mean(0)) < 0.03


def test_retry_closes_on_nothing_and_comes_back(stack):
    for episode in fitting(stack, "retry", 4):
        (segment,) = episode.segments
        inside = slice(segment.start, segment.end + 1)
        gripper = episode.actions[inside, -1]
        assert gripper[0] == 1 and gripper[-1] == -1
        assert episode.actions[segment.start - 1, -1] == -1 and episode.actions[segment.end + 1, -1] == -1
        opening = episode.proprio[inside, OPENING]
        assert opening[0] > 0.8 > 0.5 > opening.min() and opening[-1] > opening.min() + 0.2
        cube = episode.environment_state[inside, OBJECT]
        assert np.abs(cube - cube[0]).max() < 0.002
        height = episode.proprio[inside, 2]
        assert height[-1] > height[0] + 0.02


def test_same_seed_same_episode(stack):
    first = demonstrate(stack, "retry", 7)
    demonstrate(stack, "noisy", 3)
    again = demonstrate(stack, "retry", 7)
    for name in ("actions", "proprio", "rewards", "environment_state"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.segments == again.segments
    other = demonstrate(stack, "retry", 8)
    assert len(other) != len(first) or not np.array_equal(other.actions, first.actions)


@pytest.mark.parametrize(
    "task, robot",
    [("lift", "Panda"), ("can", "Panda"), ("nut_square", "Panda"), ("door", "UR5e"), ("stack", "Sawyer")],
)
def test_other_tasks_and_robots(task, robot):
    env = RobosuiteEnv(task, robot, cameras=())
    try:
        assert sum(demonstrate(env, "clean", seed).success for seed in range(3)) >= 2
    finally:
        env.close()


@pytest.mark.parametrize("task", ["open_drawer", "close_drawer", "eggplant_sink", "eggplant_basket"])
def test_the_kitchens_tasks_in_every_style(task):
    env = RobosuiteEnv(task, cameras=())
    episodes = {style: demonstrate(env, style, 4) for style in STYLES}
    env.close()
    assert all(map(fits_intent, episodes.values()))
    clean = episodes["clean"]
    assert 50 <= len(clean) <= 110
    first = int(np.flatnonzero(clean.rewards)[0])
    if task.startswith("eggplant"):  # lies there, let go
        assert clean.actions[first, -1] == -1


def test_unknown_style_is_refused(stack):
    with pytest.raises(UserError, match="did you mean clean"):
        demonstrate(stack, "cleen", 0)


def test_reliability_ends_with_a_line_of_json(capsys):
    main(["--task", "lift", "--episodes", "2", "--workers", "1"])
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert (row["task"], row["robot"], row["style"]) == ("lift", "Panda", "clean")
    assert row["success"] == 1.0 and row["episodes"] == 2 and 30 < row["frames"] < 70


def test_unknown_task_ends_with_status_2(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--task", "lfit"])
    assert ended.value.code == 2 and capsys.readouterr().err == "unknown task 'lfit'; did you mean lift?\n"


def test_rotations_by_hand():
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(about_vertical(np.pi / 2), quarter, atol=1e-12)
    np.testing.assert_allclose(rotation_vector(quarter), [0, 0, np.pi / 2], atol=1e-12)
    np.testing.assert_allclose(about(np.array([1.0, 0, 0]), np.pi / 2) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    turned = pointing(np.eye(3), np.array([0.0, -1, 0]))
    np.testing.assert_allclose(turned, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-12)
    assert wrap(1.0, np.pi / 2) == pytest.approx(1.0 - np.pi / 2)
    assert wrap(-np.pi - 0.1) == pytest.approx(np.pi - 0.1)
