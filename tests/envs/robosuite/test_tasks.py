"""The tasks: named, told apart by their instructions, refused with the nearest names."""

import numpy as np
import pytest

from envs.errors import UserError, check_choice
from envs.robosuite.tasks import KITCHEN_TASKS, ROBOSUITE_TASKS, TASKS, CameraPose, task_spec


def test_tasks_have_paraphrases_that_are_theirs_alone():
    assert list(ROBOSUITE_TASKS) == ["lift", "stack", "can", "bread", "cereal", "milk", "door", "nut_square"]
    assert list(KITCHEN_TASKS) == ["open_drawer", "close_drawer", "eggplant_sink", "eggplant_basket"]
    instructions = [instruction for spec in TASKS.values() for instruction in spec.instructions]
    assert len(set(instructions)) == len(instructions)
    assert all(len(spec.instructions) >= 4 for spec in TASKS.values())


def test_unknown_task_names_the_nearest():
    with pytest.raises(UserError, match="unknown task 'stak'; did you mean stack"):
        task_spec("stak")


def test_choice_without_a_near_one_lists_all():
    with pytest.raises(UserError, match="choose one of Panda, Sawyer"):
        check_choice("robot", "???", ["Panda", "Sawyer"])


def test_camera_looks_at_its_target():
    # from (1, 0, 1) to the origin: backward is (1, 0, 1)/√2; right is up × backward = +y; up is (-1, 0, 1)/√2
    rotation = CameraPose((1.0, 0.0, 1.0), (0.0, 0.0, 0.0), 45.0).rotation()
    half = np.sqrt(0.5)
    np.testing.assert_allclose(rotation, [[0, -half, half], [1, 0, 0], [0, half, half]], atol=1e-12)
