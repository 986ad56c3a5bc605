"""The kitchen's counter: starts, when its tasks are solved, its arrangements, and the expert that brings it back."""

import numpy as np
import pytest

from envs.errors import UserError
from envs.experts import demonstrate
from envs.experts.self_reset import SelfResettingWorld, check_undoable
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.kitchen.layouts import LAYOUTS, OPPOSITES
from envs.robosuite.tasks import Arrangement, task_spec
from envs.robosuite.vector import RobosuiteScene

TRAYS = ("sink", "basket")


@pytest.fixture(scope="module")
def counter():
    """The scene of every task, without pictures."""
    envs = {task: RobosuiteEnv(task, cameras=()) for task in OPPOSITES}
    yield envs
    for env in envs.values():
        env.close()


def lay(env: RobosuiteEnv, tray: str, above_floor: float, aside: float = 0.0) -> None:
    """Put the eggplant above a tray's floor, `aside` metres from its middle."""
    place = env.robosuite.tray_floor(tray) + np.array([aside, 0, above_floor])
    env.sim.data.set_joint_qpos("eggplant_joint0", [*place, 1, 0, 0, 0])
    env.sim.forward()


def open_to(env: RobosuiteEnv, metres: float) -> None:
    env.sim.data.set_joint_qpos("cabinet_slide", metres)
    env.sim.forward()


@pytest.mark.parametrize("task", OPPOSITES)
def test_a_task_starts_where_its_opposite_ends(counter, task):
    env, seen = counter[task], []
    for seed in range(8):
        seen.append(env.reset(seed=seed)[0]["environment_state"])
        env.advance(np.zeros(7, np.float32))
        solved = {name for name in OPPOSITES if env.robosuite.solved(name)}
        assert OPPOSITES[task] in solved and task not in solved and len(solved) == 2
        assert env.robosuite.opening() < 1e-4 or 0.1 < env.robosuite.opening() < 0.15
    assert np.ptp(seen, axis=0)[[0, 1, 3, 4]].min() > 0.005  # another place each time
    np.testing.assert_array_equal(env.reset(seed=0)[0]["environment_state"], seen[0])


def test_when_a_drawer_is_open_and_closed(counter):
    env = counter["open_drawer"]
    env.reset(seed=0)
    found = []
    for metres in (0.0, 0.0099, 0.0101, 0.0999, 0.1001):
        open_to(env, metres)
        found.append((env.robosuite.solved("close_drawer"), env.robosuite.solved("open_drawer")))
    assert found == [(True, False), (True, False), (False, False), (False, False), (False, True)]


@pytest.mark.parametrize("tray, rim", [("sink", 0.039), ("basket", 0.049)])
def test_when_an_eggplant_is_in_a_tray(counter, tray, rim):
    env = counter["eggplant_sink"]
    env.reset(seed=0)
    solved = []
    for height, aside in ((0.02, 0.0), (rim - 0.001, 0.0), (rim + 0.001, 0.0), (0.02, 0.076), (0.02, 0.078)):
        lay(env, tray, height, aside)
        solved.append(env.robosuite.solved(f"eggplant_{tray}"))
    assert solved == [True, True, False, True, False]


def test_an_eggplant_in_the_hand_is_not_put_down(counter):
    env = counter["eggplant_sink"]
    env.reset(seed=0)
    hand = env.sim.data.site_xpos[env.robosuite.robots[0].eef_site_id["right"]]
    assert not env.robosuite.held()
    for _ in range(8):  # held up until the fingers have closed
        env.sim.data.set_joint_qpos("eggplant_joint0", [*hand, 1, 0, 0, 0])
        env.advance(np.array([0, 0, 0, 0, 0, 0, 1], np.float32))
    assert env.robosuite.held()


def test_targets_are_where_things_belong(counter):
    for task, opening in (("open_drawer", 0.15), ("close_drawer", 0.0)):
        env = counter[task]
        target = env.reset(seed=1)[0]["environment_state"][3:6]
        open_to(env, opening)
        np.testing.assert_allclose(env.observe()["environment_state"][:3], target, atol=1e-6)
    env = counter["eggplant_basket"]
    target = env.reset(seed=1)[0]["environment_state"][3:6]
    lay(env, "basket", 0.02)
    np.testing.assert_allclose(
        env.observe()["environment_state"][:3], target + np.array([0, 0, 0.02]), atol=1e-6
    )


def places(env: RobosuiteEnv) -> dict[str, np.ndarray]:
    """Where everything stands: {name: position [3]}."""
    names = [env.model.body(number).name for number in range(env.model.nbody)]
    return {
        name.removesuffix("_main"): env.data.body(name).xpos.copy()
        for name in names
        if name.endswith("_main") and not name.startswith(("robot", "gripper", "table", "left", "right"))
    }


def test_arrangements(counter):
    usual = counter["close_drawer"]
    usual.reset(seed=2)
    for number, layout in enumerate(LAYOUTS):
        env = RobosuiteEnv("close_drawer", cameras=(), arrangement=Arrangement(number, 4))
        env.reset(seed=2)
        found = places(env)
        for thing in ("cabinet", *TRAYS):
            assert np.linalg.norm(found[thing][:2] - getattr(layout, thing)) < 0.03
        useless = [found[f"distractor{one}"] for one in range(4)]
        gaps = [np.abs(one - found[tray])[:2].max() for one in useless for tray in TRAYS]
        assert min(gaps) > 0.1  # beside the trays, which reach 8.5 cm from their middle
        if number == 0:  # distractors change nothing else
            before = places(usual)
            assert all(np.array_equal(found[name], before[name]) for name in before)
            assert demonstrate(env, "clean", 0).success
        env.close()


@pytest.mark.parametrize("task, layout", [("open_drawer", 1), ("eggplant_sink", 2)])
def test_experts_know_other_layouts(task, layout):
    env = RobosuiteEnv(task, cameras=(), arrangement=Arrangement(layout, 2))
    assert [demonstrate(env, "clean", seed).success for seed in range(2)] == [True, True]
    env.close()


def test_what_a_policy_is_told():
    spec = task_spec("open_drawer")
    assert spec.told("") == RobosuiteScene("open_drawer").spec().instruction == "open the drawer"
    assert spec.told("1") == spec.instructions[1]
    scene = RobosuiteScene("open_drawer", instruction="close the drawer, then open it")
    assert scene.spec().instruction == "close the drawer, then open it"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"task": "lift", "layout": 1}, "layout=1 for the task lift; only open_drawer"),
        ({"task": "open_drawer", "layout": 3}, "layout=3 for the task open_drawer; choose 0 to 2"),
        ({"task": "open_drawer", "distractors": -1}, "distractors=-1 .* choose 0 to 4"),
        ({"task": "open_drawer", "instruction": "4"}, "no paraphrase 4; choose 0 to 3"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        RobosuiteScene(**options)


def test_a_task_that_no_expert_undoes_is_refused():
    with pytest.raises(UserError, match="no expert undoes lift"):
        check_undoable("lift")


@pytest.mark.parametrize("task", ["close_drawer", "eggplant_basket"])
def test_an_expert_brings_the_scene_back(task):
    world = SelfResettingWorld(RobosuiteScene(task, cameras=()))
    env = world.env
    first = world.begin(3)
    if task == "close_drawer":
        open_to(env, 0.0)
    else:
        lay(env, "basket", 0.02)
    assert world.advance(np.zeros(7, np.float32))[1]
    shown, by_hand = world.go_on(4)
    assert not by_hand and env.robosuite.solved(OPPOSITES[task]) and not env.robosuite.solved(task)
    np.testing.assert_allclose(shown["proprio"][:3], first["proprio"][:3], atol=0.02)
    assert world.advance(np.zeros(7, np.float32))[1:] == (False, False)
    world.close()


def test_a_lost_eggplant_takes_a_reset():
    world = SelfResettingWorld(RobosuiteScene("eggplant_sink", cameras=()))
    expected = world.begin(5)["environment_state"]
    world.begin(6)
    world.env.sim.data.set_joint_qpos("eggplant_joint0", [0.7, 0.7, 0.05, 1, 0, 0, 0])  # on the floor
    shown, by_hand = world.go_on(5)
    assert by_hand
    np.testing.assert_array_equal(shown["environment_state"], expected)
    world.close()
