"""The speed that is promised, measured where the tests run."""

import pytest

from envs.errors import UserError
from envs.robosuite.benchmark import measure_rollout


def test_rollout_is_several_times_faster_than_stock():
    result = measure_rollout(steps=30)
    assert result["ratio"] == pytest.approx(result["fps"] / result["stock_fps"])
    assert result["ratio"] > 6  # 13 and more where not much else runs


def test_robot_that_stock_cannot_build_is_refused():
    with pytest.raises(UserError, match="stock robosuite cannot build Sawyer"):
        measure_rollout(robot="Sawyer", steps=20)


def test_too_few_steps_are_refused():
    with pytest.raises(UserError, match="measure at least"):
        measure_rollout(steps=1)
