"""The environments: Gymnasium's contract, seeds that mean something, and one clear line for a wrong name."""

import os
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.errors import UserError
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.tasks import TASKS
from envs.robosuite.views import visible_state

SUMMARY = """
import numpy as np
from envs.robosuite.env import RobosuiteEnv
env = RobosuiteEnv("lift", "Panda", cameras=("workspace",), image_size=32)
observation, _ = env.reset(seed=7)
actions = np.random.default_rng(0).uniform(-1, 1, (5, 7)).astype(np.float32)
for action in actions:
    observation = env.step(action)[0]
print(env.data.qpos.tobytes().hex(), int(observation["images"]["workspace"].astype(int).sum()))
"""


@pytest.fixture(scope="module")
def lift():
    env = RobosuiteEnv("lift", "Panda", cameras=("workspace",), image_size=32)
    yield env
    env.close()


def run(code: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | variables, check=False
    )


DRAWN = """
from envs.robosuite.headless import gl_context
gl_context(16).make_current()
import triton
"""


def test_what_brings_an_llvm_of_its_own_is_loaded_before_anything_is_drawn(tmp_path):
    """Triton, which PyTorch imports late, crashed a process that had drawn: a stand-in that says what is loaded by then."""
    (tmp_path / "triton.py").write_text(
        "print('renderer' if 'swrast' in open('/proc/self/maps').read() else 'nothing')"
    )
    loaded = run(DRAWN, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert loaded.returncode == 0 and loaded.stdout.split() == ["nothing"], loaded
    drawn = run(DRAWN, PYTHONPATH=os.pathsep.join(sys.path))
    assert drawn.returncode == 0 or "No module named 'triton'" in drawn.stderr, drawn


@pytest.mark.filterwarnings("ignore:.*A Box observation space")
@pytest.mark.parametrize("task", TASKS)
def test_gymnasium_contract(task):
    env = RobosuiteEnv(task, "Panda", image_size=16)
    check_env(env, skip_render_check=True)
    observation, info = env.reset(seed=0)
    assert observation["images"]["wrist"].shape == (16, 16, 3)
    assert observation["proprio"].shape == observation["environment_state"].shape == (8,)
    assert info == {"success": False, "instruction": TASKS[task].instructions[0]}
    env.close()


@pytest.mark.parametrize("robot", ["Sawyer", "UR5e"])
def test_other_robots_feel_the_same_numbers(robot):
    env = RobosuiteEnv("stack", robot, cameras=())
    proprio = env.reset(seed=0)[0]["proprio"]
    assert 0.3 < proprio[0] < 0.7 and abs(proprio[1]) < 0.3  # in front of the base, whichever robot it is
    np.testing.assert_allclose(proprio[3:7], [0, np.sqrt(0.5), np.sqrt(0.5), 0], atol=0.1)
    opened, closed = (hold_gripper(env, sign) for sign in (-1.0, 1.0))
    assert opened > 0.9 and closed < 0.1
    env.close()


def hold_gripper(env: RobosuiteEnv, sign: float) -> float:
    for _ in range(20):
        env.advance(np.array([0, 0, 0, 0, 0, 0, sign], np.float32))
    return float(env.observe()["proprio"][7])


def test_a_seed_is_an_episode_after_any_other(lift):
    actions = np.random.default_rng(0).uniform(-1, 1, (8, 7)).astype(np.float32)

    def play(seed: int) -> np.ndarray:
        lift.reset(seed=seed)
        for action in actions:
            observation = lift.step(action)[0]
        return np.concatenate([lift.data.qpos, observation["images"]["workspace"].ravel()])

    first = play(3)
    assert not np.array_equal(play(4), first)
    np.testing.assert_array_equal(play(3), first)


def test_a_seed_is_the_same_episode_in_another_process():
    first, second = run(SUMMARY), run(SUMMARY)
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert first.stdout.count("\n") == 1 and not first.stderr  # robosuite's notices are silent


def test_reset_leaves_numpys_generator_alone(lift):
    np.random.seed(0)
    expected = np.random.rand()
    np.random.seed(0)
    lift.reset(seed=5)
    assert np.random.rand() == expected


def test_advance_and_observe_make_a_step(lift):
    action = np.array([0.5, 0, -0.5, 0, 0, 0, 1], np.float32)
    lift.reset(seed=1)
    stepped = lift.step(action)[0]
    lift.reset(seed=1)
    assert lift.advance(action) == (0.0, False)
    np.testing.assert_array_equal(lift.observe()["images"]["workspace"], stepped["images"]["workspace"])
    np.testing.assert_array_equal(lift.observe()["proprio"], stepped["proprio"])


def test_horizon_truncates():
    env = RobosuiteEnv("lift", "Panda", cameras=(), horizon=2)
    env.reset(seed=0)
    action = np.zeros(7, np.float32)
    assert [env.step(action)[3] for _ in range(2)] == [False, True]
    env.close()


def test_lifted_cube_is_a_success(lift):
    lift.reset(seed=0)
    cube = lift.robosuite.cube.joints[0]
    position = lift.sim.data.get_joint_qpos(cube).copy()
    position[2] = 1.0
    lift.sim.data.set_joint_qpos(cube, position)
    _, reward, terminated, truncated, info = lift.step(np.zeros(7, np.float32))
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)


def test_target_of_the_door_is_where_its_handle_will_be():
    env = RobosuiteEnv("door", "Panda", cameras=())
    target = env.reset(seed=0)[0]["environment_state"][3:6]
    env.data.qpos[env.robosuite.hinge_qpos_addr] = 0.3
    env.sim.forward()
    np.testing.assert_allclose(env.observe()["environment_state"][:3], target, atol=1e-6)
    env.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "lifft"}, "unknown task 'lifft'; did you mean lift"),
        ({"robot": "panda"}, "unknown robot 'panda'; did you mean Panda"),
        ({"task": "lift", "cameras": ("workspce",)}, "unknown camera 'workspce'; did you mean workspace"),
        ({"image_size": 4}, "image_size is 4"),
        ({"horizon": 0}, "horizon is 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        RobosuiteEnv(**arguments)


def test_no_egl_says_what_to_install():
    code = "from envs.robosuite.env import RobosuiteEnv; RobosuiteEnv('lift')"
    result = run(code, __EGL_VENDOR_LIBRARY_FILENAMES="/nonexistent.json")
    assert "UserError: no usable EGL to draw without a screen; run: sudo apt-get install" in result.stderr
    assert "Exception ignored" not in result.stderr


def test_what_a_picture_can_tell_of_the_state():
    yaws = np.array([0.3, 0.3 + np.pi / 2, 0.3 + np.pi])
    state = np.column_stack([np.tile([0.1, -0.2, 0.9, 0.0, 0.05, 0.8], (3, 1)), np.cos(yaws), np.sin(yaws)])
    seen = visible_state(state.astype(np.float32))
    np.testing.assert_allclose(seen[0, :6], [2, -4, 18, 0, 1, 16], rtol=1e-6)
    np.testing.assert_allclose(seen[0, 6:], [np.cos(0.6), np.sin(0.6), np.cos(1.2), np.sin(1.2)], rtol=1e-5)
    np.testing.assert_allclose(seen[0, 8:], seen[1, 8:], atol=1e-5)  # a quarter of a turn cannot be told
    np.testing.assert_allclose(seen[0, 6:8], -seen[1, 6:8], atol=1e-5)
    np.testing.assert_allclose(seen[0], seen[2], atol=1e-5)


def test_contacts_are_robosuites():
    from robosuite.utils.sim_utils import check_contact

    env = RobosuiteEnv("stack", "Panda", cameras=())
    env.reset(seed=0)
    world = env.robosuite
    env.advance(np.zeros(7, np.float32))  # the cubes lie on the table, and nobody touches them
    table = "table_collision"
    things = [
        world.cubeA,
        world.cubeB,
        table,
        [table],
        ["gripper0_right_finger1_collision"],
        world.robots[0].gripper["right"],
    ]
    pairs = [(first, second) for first in things for second in [*things, None]]
    found = [world.check_contact(*pair) for pair in pairs]
    assert found == [check_contact(world.sim, *pair) for pair in pairs]
    assert world.check_contact(world.cubeA, table) and not world.check_contact(world.cubeA, world.cubeB)
    env.close()
