"""Correlation within groups, by numbers worked out by hand."""

import numpy as np
import pytest

from experiments.lab.ranking import mean_ranking, ranking, within_groups


def test_correlation_is_taken_within_each_group():
    true = np.array([[0.0, 0.1, 0.2], [0.5, 0.6, 0.7], [0.2, 0.2, 0.201], [0.0, 0.1, 0.2]])
    judged = np.array([[0.8, 0.9, 1.0], [0.3, 0.1, 0.2], [0.0, 0.5, 1.0], [0.4, 0.4, 0.4]])
    # the second: deviations (.1, -.1, 0) and (-.1, 0, .1): r = -.01 / sqrt(.02 * .02) = -.5
    found = within_groups(judged, true)
    np.testing.assert_allclose(
        found, [1, -0.5, np.nan, 0]
    )  # the third has no spread, the fourth judge no opinion
    between = np.corrcoef(judged[:2].ravel(), true[:2].ravel())[0, 1]
    assert between < 0 < mean_ranking(found)["r"]


def test_the_mean_leaves_out_what_has_no_spread():
    found = mean_ranking(np.array([1, -0.5, np.nan, 0]))
    assert found["r"] == pytest.approx(0.5 / 3) and found["groups"] == 3
    assert -0.5 <= found["low"] < found["r"] < found["high"] <= 1
    same = mean_ranking(np.full(5, 0.4))
    assert same["low"] == same["high"] == pytest.approx(0.4)
    one, none = mean_ranking(np.array([0.3])), mean_ranking(np.array([np.nan]))
    assert one["r"] == 0.3 and one["low"] is None
    assert none == {"r": None, "low": None, "high": None, "groups": 0}


def test_the_interval_has_the_width_of_the_standard_error():
    values = np.random.default_rng(0).normal(0.3, 0.5, 400)
    found = mean_ranking(values)
    error = 1.96 * values.std() / 20
    assert found["high"] - found["r"] == pytest.approx(error, rel=0.1)


def test_figures_are_told_by_phase_and_number_of_decisions():
    true = np.stack([np.array([[0, 0.1], [0, 0.1]]), np.array([[0, 0.1], [0.1, 0]])], axis=-1)
    judged = np.stack([np.array([[0, 1.0], [0, 1.0]])] * 2, axis=-1)
    found = ranking(judged, true, np.array([0, 3]), ("approach", "grasp", "lift", "place"))
    assert list(found) == ["all", "approach", "place"] and list(found["all"]) == ["1", "2"]
    told = {name: [part[count]["r"] for count in "12"] for name, part in found.items()}
    assert told == {"all": [1, 0], "approach": [1, 1], "place": [1, -1]}
