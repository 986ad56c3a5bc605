"""Intervals against numbers worked out by hand, and how often they cover the truth."""

import numpy as np
import pytest

from experiments.lab.statistics import (
    mean_interval,
    paired_difference,
    share_of_gap,
    student,
    success_rate,
    tango,
    wilson,
)

T_2 = 4.302653  # Student's .975 quantile with two degrees of freedom


def test_wilson_by_hand():
    # p = .5, n = 100: centre .5, half = 1.96 * sqrt(.0025 + .9604/10000) / 1.038415 = .09617
    interval = wilson(0.5, 100)
    assert (interval.low, interval.high) == pytest.approx((0.40383, 0.59617), abs=1e-4)
    # p = 0: low 0, high = (z²/n) / (1 + z²/n) = .0384146 / 1.0384146
    assert wilson(0.0, 100).low == 0 and wilson(0.0, 100).high == pytest.approx(0.036994, abs=1e-5)


def test_student_by_hand():
    assert student(1) == pytest.approx(12.7062, abs=1e-4) and student(2) == pytest.approx(T_2, abs=1e-5)


def test_share_of_a_gap_by_hand():
    # of 100 episodes cloning solves 20, the method 35 more, the ceiling these and 15 more: 35 of 50
    episode = np.arange(100)
    baseline, method, ceiling = (episode[None] < count for count in (20, 55, 70))
    share = share_of_gap(method, baseline, ceiling)
    assert share.mean == pytest.approx(0.7)
    # Fieller: a = .35, b = .5, variances .35·.65/99 and .5·.5/99, covariance .35·.5/99, z² = 3.8415
    v_a, v_b, v_ab = 0.35 * 0.65 / 99, 0.25 / 99, 0.35 * 0.5 / 99
    square, middle = 0.25 - 3.8415 * v_b, 0.175 - 3.8415 * v_ab
    half = np.sqrt(middle**2 - square * (0.35**2 - 3.8415 * v_a))
    assert (share.low, share.high) == pytest.approx(
        ((middle - half) / square, (middle + half) / square), abs=1e-5
    )
    assert share_of_gap(method, baseline, baseline) is None  # nothing to win
    assert share_of_gap(baseline, baseline, ceiling).mean == 0
    # three seeds of which one has no gap: their mean gap may be 0, and the share anything
    three = np.concatenate([ceiling, baseline, ceiling])
    loose = share_of_gap(np.repeat(method, 3, 0), np.repeat(baseline, 3, 0), three)
    assert loose.mean == pytest.approx(1.05) and loose.low is None and loose.high is None


def test_seeds_that_agree_count_as_independent_trials():
    success = np.tile(np.arange(50) % 2 == 0, (2, 1))
    assert success_rate(success) == wilson(0.5, 100)
    assert success_rate(success[:1]) == wilson(0.5, 50)
    assert success_rate(np.zeros((3, 10), bool)) == wilson(0.0, 30)


def test_seeds_that_scatter_widen_the_interval():
    # rates .4, .5, .6: s² = .01, standard error sqrt(.01 / 3) = .057735, times t = .248414; beyond 1 it is cut
    success = np.stack([np.arange(50) < solved for solved in (20, 25, 30)])
    interval = success_rate(success)
    assert (interval.low, interval.high) == pytest.approx((0.251586, 0.748414), abs=1e-5)
    assert success_rate(np.stack([np.arange(50) < solved for solved in (10, 45)])).high == 1


def test_tango_by_hand():
    # no pair disagrees: Δ² n = z² Δ (1 − Δ), so that Δ = z² / (n + z²) = 3.841459 / 303.841459
    none = tango(0, 0, 300)
    assert none.mean == 0 and (-none.low, none.high) == pytest.approx([0.0126430] * 2, abs=1e-7)
    one = tango(4, 1, 30)
    mirrored = tango(1, 4, 30)
    assert (one.low, one.high) == pytest.approx((-mirrored.high, -mirrored.low))
    # at the ends Δ of won 4, lost 1, n 30: (3 − 30 Δ)² = z² 30 (2q + Δ(1 − Δ)) with
    # 60 q² + (57 Δ − 5) q − Δ(1 − Δ) = 0
    for end in (one.low, one.high):
        q = (-(57 * end - 5) + np.sqrt((57 * end - 5) ** 2 + 240 * end * (1 - end))) / 120
        assert (3 - 30 * end) ** 2 == pytest.approx(3.841459 * 30 * (2 * q + end * (1 - end)), rel=1e-5)


def test_paired_difference_by_hand():
    # seeds' mean differences .1, .2, .6: mean .3, s² = .07, standard error sqrt(.07 / 3) = .152753, times t
    success = np.stack([np.arange(100) < solved for solved in (10, 20, 60)])
    interval = paired_difference(success, np.zeros_like(success))
    half = T_2 * 0.152753
    assert (interval.mean, interval.low, interval.high) == pytest.approx(
        (0.3, 0.3 - half, 0.3 + half), abs=1e-5
    )


def test_seeds_that_agree_leave_the_pairs_interval():
    better, worse = np.ones((2, 4), bool), np.array([[False, False, True, True]] * 2)
    assert paired_difference(better, worse) == tango(4, 0, 8)
    assert paired_difference(better, better) == tango(0, 0, 8)
    assert paired_difference(better[:1], worse[:1]) == tango(2, 0, 4)


SPREADS = (0.0, 0.03, 0.08, 0.15)


@pytest.mark.parametrize(
    ("rate", "spread"), [*((0.5, spread) for spread in SPREADS), (0.8, 0.0), (0.8, 0.03), (0.8, 0.08)]
)
def test_three_seeds_of_100_episodes_cover_the_rate(rate, spread):
    random = np.random.default_rng(0)
    scale = rate * (1 - rate) / max(spread, 1e-6) ** 2 - 1
    covered = 0
    for _ in range(2000):
        rates = random.beta(rate * scale, (1 - rate) * scale, size=(3, 1))
        interval = success_rate(random.random((3, 100)) < rates)
        covered += interval.low <= rate <= interval.high
    assert covered / 2000 >= 0.93


@pytest.mark.parametrize("spread", SPREADS)
def test_three_seeds_of_100_pairs_cover_the_difference(spread):
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        gain = 0.15 + spread * random.normal(size=(3, 1)) / np.sqrt(2)
        loss = 0.05 - spread * random.normal(size=(3, 1)) / np.sqrt(2)
        drawn = random.random((3, 100))
        won, lost = drawn < gain, drawn > 1 - loss
        both = random.random((3, 100)) < 0.5
        interval = paired_difference(won | (both & ~lost), lost | (both & ~won))
        covered += interval.low <= 0.1 <= interval.high
    assert covered / 2000 >= 0.93


def test_the_mean_of_independent_values():
    found = mean_interval(np.array([1.0, 2.0, 3.0]))  # s = 1, t(2) = 4.3027
    assert found is not None
    np.testing.assert_allclose([found.mean, found.low, found.high], [2, 2 - 2.4842, 2 + 2.4842], atol=1e-4)
    assert mean_interval(np.array([1.0])) is None
