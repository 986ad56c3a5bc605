"""What `policy=lerobot` says before LeRobot is asked, and where it is not installed."""

from importlib.util import find_spec

import pytest

from envs.contract import EnvSpec
from envs.errors import UserError
from experiments.choices.lerobot import LeRobotChoice

ENV = EnvSpec({"workspace": (64, 64)}, 3, (-1.0, -1.0), (1.0, 1.0), 20.0, 50, "stack the cubes")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "needs policy.path=/a/checkpoint or policy.type=act"),
        ({"type": "act"}, "from scratch, policy.data="),
        ({"path": "a", "data": "b"}, "from scratch, policy.data="),
        ({"path": "a", "config": {"dim_model": 8}}, "a checkpoint has its own"),
    ],
)
def test_settings_that_do_not_go_together(settings, says):
    with pytest.raises(UserError, match=says):
        LeRobotChoice(**settings)


@pytest.mark.skipif(find_spec("lerobot") is not None, reason="LeRobot is installed")
def test_without_lerobot():
    with pytest.raises(UserError, match=r"needs LeRobot 0\.6 and Python 3\.12"):
        LeRobotChoice(path="/a/checkpoint").shape(ENV)
