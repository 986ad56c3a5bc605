"""Episodes that begin in the midst of a demonstration: the same state to the bit, and the phases of a task."""

import numpy as np
import pytest

from envs.errors import UserError
from envs.experts import demonstrate
from envs.experts.branches import Branching, BranchWorld, branch_envs, draw_branch, reached
from envs.experts.phases import phases
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.vector import RobosuiteScene

SEED = 6_000_000_000  # of more than 32 bits, as those of branches are


@pytest.fixture(scope="module")
def stack():
    env = RobosuiteEnv("stack", cameras=())
    yield env
    env.close()


def physics_after(env, actions):
    for action in actions:
        env.advance(action)
    return env.snapshot().physics


def test_what_follows_a_restored_moment_is_the_same_to_the_bit(stack):
    episode = demonstrate(stack, "clean", SEED)
    assert episode.success
    stack.reset(seed=SEED)
    physics_after(stack, episode.actions[:40])
    moment = stack.snapshot()
    straight = physics_after(stack, episode.actions[40:])
    other = RobosuiteEnv("stack", cameras=())
    demonstrate(other, "retry", 3)
    for _ in range(2):
        other.restore(moment)
        assert np.array_equal(other.snapshot().physics, moment.physics)
        assert np.array_equal(physics_after(other, episode.actions[40:]), straight)
    other.restore(moment)
    assert not np.array_equal(physics_after(other, episode.actions[41:]), straight)
    other.close()


def test_phases_follow_one_another(stack):
    base = np.array(stack.robosuite.robots[0].base_pos)
    clean = demonstrate(stack, "clean", SEED)
    solved = np.flatnonzero(clean.rewards > 0)[0]
    order = phases(clean, base)[:solved]
    assert (np.diff(order) >= 0).all() and set(order) == {0, 1, 2, 3}  # approach, grasp, lift, place
    gripper = clean.actions[:solved, 6]
    assert gripper[order == 0].max() < 0 < gripper[order == 2].min()  # open, closed


def test_a_seed_draws_one_moment_of_the_wanted_phase(stack):
    drawn = [
        draw_branch(stack, SEED + number, Branching(("place",), ("clean", "noisy"))) for number in range(3)
    ]
    assert {point.phase for point in drawn} == {"place"} and {point.style for point in drawn} <= {
        "clean",
        "noisy",
    }
    again = draw_branch(stack, SEED, Branching(("place",), ("clean", "noisy")))
    assert np.array_equal(again.actions, drawn[0].actions)
    moment = reached(stack, again)
    assert moment.steps == len(again.actions)
    thing = stack.observe()["environment_state"][:3]
    assert thing[2] > again.first[2] + 0.02  # it is in the air


def test_rows_begin_alike_and_part_by_what_is_done():
    scene = RobosuiteScene("lift", image_size=32, horizon=8)
    envs = branch_envs(scene, Branching(), 2, 4)
    try:
        shown, _ = envs.reset(seed=[SEED, SEED], options={"film": np.array([4, 4])})
        first = {name: shown[name].copy() for name in ("proprio", "environment_state")}
        assert all(np.array_equal(*rows) for rows in first.values())
        assert np.array_equal(*shown["images"]["workspace"])
        chunks = np.zeros((2, 4, 7), np.float32)
        chunks[1, :, 0] = 0.5
        shown = envs.step(chunks)[0]
        assert abs(shown["proprio"][1, 0] - shown["proprio"][0, 0]) > 0.01
        apart = shown["proprio"].copy()
        shown, _ = envs.reset(seed=[SEED, SEED])
        assert np.array_equal(shown["proprio"], first["proprio"])
        assert np.array_equal(envs.step(chunks)[0]["proprio"], apart)
    finally:
        envs.close()
    world = BranchWorld(scene, Branching())
    assert np.array_equal(world.begin(SEED)["environment_state"], first["environment_state"][0])
    world.close()


def test_what_there_is_not_is_refused():
    with pytest.raises(UserError, match="phase"):
        Branching(("carry",))
    with pytest.raises(UserError, match="at least one style"):
        Branching(styles=())
    lift = RobosuiteEnv("lift", cameras=())
    with pytest.raises(UserError, match="no demonstration of lift in the styles clean has the phase place"):
        draw_branch(lift, SEED, Branching(("place",), ("clean",)))
    lift.close()
