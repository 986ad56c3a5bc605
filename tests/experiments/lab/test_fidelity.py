"""Agreement of two measurements, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from envs.errors import UserError
from experiments.lab.fidelity import fidelity, mmrv, told


def test_mmrv_is_the_largest_real_difference_ranked_the_other_way():
    real, imagined = np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.7, 0.6])
    # the last two are ranked the other way, .4 apart; the first is ranked right
    assert mmrv(real, imagined) == pytest.approx((0 + 0.4 + 0.4) / 3)
    assert mmrv(real, real) == 0
    assert mmrv(real, np.array([0.2, 0.6, 0.6])) == 0  # a tie is no violation


def test_figures():
    real = np.array([0.0, 0.2, 0.4, 0.6, 0.8])
    found = fidelity(real, real + 0.1)
    assert found["pearson_r"] == pytest.approx(1) and found["spearman"] == pytest.approx(1)
    assert found["mean_gap"] == pytest.approx(0.1) and found["mmrv"] == 0
    assert found["p"] == pytest.approx(1 / 120, abs=0.005)  # of the 120 orders one is as good
    noisy = fidelity(real, np.array([0.1, 0.0, 0.5, 0.4, 0.9]))
    # deviations -.4 … .4 and -.28, -.38, .12, .02, .52: products .4, squares .4 and .508
    assert noisy["pearson_r"] == pytest.approx(0.4 / np.sqrt(0.4 * 0.508), abs=1e-6)
    z, width = np.arctanh(noisy["pearson_r"]), 1.959964 / np.sqrt(5 - 3)  # Fisher
    assert (noisy["low"], noisy["high"]) == pytest.approx((np.tanh(z - width), np.tanh(z + width)), abs=1e-5)
    assert noisy["worst_r"] < noisy["pearson_r"] < noisy["best_r"]


def test_what_tells_nothing_is_one_line():
    for real, imagined in (([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]), ([0.5] * 4, [0.1, 0.2, 0.3, 0.4])):
        with pytest.raises(UserError, match="at least four policies"):
            fidelity(np.array(real), np.array(imagined))


def test_precision_and_recall():
    truth, verdict = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 1, 0], bool)
    assert told(truth, verdict) == pytest.approx({"precision": 1 / 3, "recall": 1 / 3})
    assert np.isnan(told(truth, np.zeros(5, bool))["precision"])
