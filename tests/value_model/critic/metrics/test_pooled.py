"""Metrics of many trajectories, and their bootstrap, against numbers computed by hand and against plain resampling."""

import numpy as np
import pytest

from value_model.critic.metrics.episodes import spearman
from value_model.critic.metrics.pooled import (
    auroc,
    average_precision,
    drops,
    kendall_tau,
    mean,
    rank_correlation,
    resampled,
)


def once(count: int) -> np.ndarray:
    return np.ones((1, count), np.float32)


def test_mean_leaves_out_what_is_undefined() -> None:
    # (2 · 1 + 1 · 4) / 3 = 2; nothing known: NaN
    scores = np.array([1.0, np.nan, 4.0])
    weights = np.array([[1, 1, 1], [2, 5, 1], [0, 3, 0]], np.float32)
    np.testing.assert_allclose(mean(scores, weights), [2.5, 2.0, np.nan])


def test_auroc_by_hand() -> None:
    # pairs of (.9, .5) with (.5, .2): above, above, tied, above → 3.5 / 4
    positive, negative = np.array([0.9, 0.5]), np.array([0.5, 0.2])
    assert auroc(positive, negative, once(2), once(2)) == pytest.approx([0.875])
    # the positive .5 three times: (2 + 3 · 1.5) / 8
    assert auroc(positive, negative, np.array([[1.0, 3.0]]), once(2)) == pytest.approx([0.8125])
    # NaN is left out; nobody left: undefined
    assert auroc(np.array([0.9, np.nan]), negative, once(2), once(2)) == pytest.approx([1.0])
    assert np.isnan(auroc(np.array([np.nan]), negative, once(1), once(2))).all()


def test_kendall_tau_by_hand() -> None:
    # failure .2, suboptimal .6, successes .5 and .9. Groups of three: (.2 .6 .5): 2 concordant, 1 discordant → 1/3;
    # (.2 .6 .9): 3 concordant → 1. Mean 2/3.
    scores, ranks = np.array([0.2, 0.6, 0.5, 0.9]), np.array([0, 1, 2, 2])
    assert kendall_tau(scores, ranks, once(4)) == pytest.approx([2 / 3])
    assert kendall_tau(-scores, ranks, once(4)) == pytest.approx([-2 / 3])
    assert kendall_tau(np.full(4, 0.5), ranks, once(4)) == pytest.approx([0.0])
    # successes and suboptimal alike, failures below: two of three pairs of classes → 2/3
    assert kendall_tau(np.array([0, 1, 1, 1.0]), ranks, once(4)) == pytest.approx([2 / 3])
    assert np.isnan(kendall_tau(scores[:1], ranks[:1], once(1))).all()


def test_average_precision_by_hand() -> None:
    # ranked + − + −: recall ½ at precision 1, then ½ at 2/3: ½ + ⅓ = .8333
    scores, positive = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    owner = np.arange(4)
    assert average_precision(scores, positive, owner, once(4)) == pytest.approx([0.8333333])
    # all tied: one threshold, precision is the share of positives
    assert average_precision(np.zeros(4), positive, owner, once(4)) == pytest.approx([0.5])
    # the first trajectory has frames 0 and 1 and counts twice; hits by threshold: 2 of 2, 2 of 4, 3 of 5, 3 of 6:
    # AP = 2/3 · 1 + 1/3 · 3/5 = .8667
    weights = np.array([[2.0, 1.0]])
    assert average_precision(scores, positive, np.array([0, 0, 1, 1]), weights) == pytest.approx([0.8666667])
    assert np.isnan(average_precision(scores, np.zeros(4, bool), owner, once(4))).all()


def test_drops_by_hand() -> None:
    values = np.array([0.1, 0.5, 0.4, 0.2, 0.3])
    np.testing.assert_allclose(drops(values, 1), [0, 0, 0.1, 0.2, 0], atol=1e-12)
    np.testing.assert_allclose(drops(values, 2), [0, 0, 0.1, 0.3, 0.1], atol=1e-12)
    np.testing.assert_allclose(drops(values, 10), [0, 0, 0.1, 0.3, 0.2], atol=1e-12)


def test_rank_correlation_is_spearmans() -> None:
    random = np.random.default_rng(0)
    first, second = random.integers(0, 6, 20).astype(float), random.integers(0, 6, 20).astype(float)
    assert rank_correlation(first, second, once(20)) == pytest.approx([spearman(first, second)])
    assert np.isnan(rank_correlation(np.ones(20), second, once(20))).all()
    first[3] = np.nan
    known = np.arange(20) != 3
    expected = spearman(first[known], second[known])
    assert rank_correlation(first, second, once(20)) == pytest.approx([expected])
    assert np.isnan(rank_correlation(np.full(2, np.nan), np.ones(2), once(2))).all()


def test_weights_are_copies_of_trajectories() -> None:
    random = np.random.default_rng(1)
    scores, other = random.integers(0, 5, 12).astype(float), random.random(12)
    ranks, positive = np.arange(12) % 3, random.random(12) < 0.5
    weights = random.multinomial(12, np.full(12, 1 / 12), size=5).astype(np.float32)
    for row in weights:
        copies = np.repeat(np.arange(12), row.astype(int))
        one, many = once(len(copies)), row[None]
        pairs = [
            (mean(other, many), mean(other[copies], one)),
            (rank_correlation(scores, other, many), rank_correlation(scores[copies], other[copies], one)),
            (kendall_tau(scores, ranks, many), kendall_tau(scores[copies], ranks[copies], one)),
            (
                average_precision(scores, positive, np.arange(12), many),
                average_precision(scores[copies], positive[copies], np.arange(len(copies)), one),
            ),
        ]
        for weighted, copied in pairs:
            np.testing.assert_allclose(weighted, copied, rtol=1e-5)


def test_bootstrap_draws_within_strata_and_always_the_same() -> None:
    strata = np.array([1, 1, 1, 2, 2])
    weights = resampled(strata, 2000)
    for stratum, size in ((1, 3), (2, 2)):
        np.testing.assert_allclose(weights[:, strata == stratum].sum(axis=1), size, rtol=1e-6)
    np.testing.assert_array_equal(weights, resampled(strata, 2000))
    # two draws of three count 3/2 each: their mean's variance is that of the mean, s² / 3 = 1 / 3 of {0, 1, 2}
    spread = mean(np.array([0, 1, 2, np.nan, np.nan]), weights).var()
    assert spread == pytest.approx(1 / 3, rel=0.1)


def test_strata_of_one_are_drawn_from_together() -> None:
    weights = resampled(np.array([0, 1, 2, 3, 3]), 2000)
    assert mean(np.array([0, 1, 2, np.nan, np.nan]), weights).var() == pytest.approx(1 / 3, rel=0.1)
    assert (resampled(np.array([0, 1, 1]), 20)[:, 0] == 1).all()


def test_the_bootstrap_of_small_strata_covers_the_mean() -> None:
    random = np.random.default_rng(0)
    strata = np.repeat(np.arange(12), [3, 4, 5] * 4)
    centres = np.linspace(0, 1, 12)[strata]
    weights = resampled(strata, 500)
    covered = 0
    for _ in range(1000):
        estimates = mean(centres + random.normal(size=len(strata)), weights)
        low, high = np.percentile(estimates, [2.5, 97.5])
        covered += low <= centres.mean() <= high
    assert covered / 1000 >= 0.93
