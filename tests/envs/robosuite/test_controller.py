"""The lean controller against robosuite's own: the same states under the same random actions."""

import numpy as np
import pytest

from envs.robosuite.env import RobosuiteEnv


def states(env: RobosuiteEnv, nudge: float = 0.0) -> np.ndarray:
    """Joint positions [61, Q] of 60 random actions; `nudge` is added to a finger's joint before."""
    env.reset(seed=3)
    env.data.qpos[env.robosuite.robots[0]._ref_gripper_joint_pos_indexes["right"][-1]] += nudge
    rows = [env.data.qpos.copy()]
    for action in np.random.default_rng(0).uniform(-1, 1, (60, 7)).astype(np.float32):
        env.advance(action)
        rows.append(env.data.qpos.copy())
    return np.stack(rows)


@pytest.mark.parametrize(("task", "robot"), [("stack", "Panda"), ("can", "Sawyer"), ("door", "Panda")])
def test_states_equal_stock(task, robot):
    ours = states(RobosuiteEnv(task, robot, cameras=()))
    stock = states(RobosuiteEnv(task, robot, cameras=(), fast=False))
    np.testing.assert_allclose(ours, stock, rtol=0, atol=1e-10)
    assert np.abs(ours[-1] - ours[0]).max() > 0.1  # it did move


def test_states_equal_stock_as_far_as_stock_equals_itself():
    """UR5e's gripper is a chaotic linkage: stock with a finger moved by 1e-13 rad is as far from stock."""
    stock_env = RobosuiteEnv("stack", "UR5e", cameras=(), fast=False)
    stock, nudged = states(stock_env), states(stock_env, nudge=1e-13)
    ours = states(RobosuiteEnv("stack", "UR5e", cameras=()))
    np.testing.assert_allclose(ours[:2], stock[:2], rtol=0, atol=1e-11)
    arm = slice(0, 6)
    assert np.abs(ours - stock)[:, arm].max() < 3 * np.abs(nudged - stock)[:, arm].max() < 1e-3
