"""Intervals against numbers worked out by hand."""

import numpy as np
import pytest

from experiments.lab.statistics import paired_difference, success_rate, wilson


def test_wilson_by_hand():
    # p = .5, n = 100: centre .5, half = 1.96 * sqrt(.0025 + .9604/10000) / 1.038415 = .09617
    interval = wilson(0.5, 100)
    assert (interval.low, interval.high) == pytest.approx((0.40383, 0.59617), abs=1e-4)
    # p = 0: low 0, high = (z²/n) / (1 + z²/n) = .0384146 / 1.0384146
    assert wilson(0.0, 100).low == 0 and wilson(0.0, 100).high == pytest.approx(0.036994, abs=1e-5)


def test_seeds_that_agree_count_as_independent_trials():
    success = np.tile(np.arange(50) % 2 == 0, (2, 1))
    assert success_rate(success) == wilson(0.5, 100)


def test_seeds_that_scatter_widen_the_interval():
    # rates .2 and .8: variance .18, binomial variance .25 / 50 = .005: 36 times more, so n = 100 / 36
    success = np.stack([np.arange(50) < 10, np.arange(50) < 40])
    assert success_rate(success).high == pytest.approx(wilson(0.5, 100 / 36).high)


def test_paired_difference_by_hand():
    # differences 1, 1, 0, 0 in each of two seeds: mean .5, variance 2/7, standard error sqrt(2/7/8) = .18898
    better, worse = np.ones((2, 4), bool), np.array([[False, False, True, True]] * 2)
    interval = paired_difference(better, worse)
    assert interval.mean == 0.5
    assert interval.high - interval.mean == pytest.approx(1.959964 * 0.188982, abs=1e-4)
    assert paired_difference(better, better).high == 0
