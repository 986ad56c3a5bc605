"""How well one measurement of policies stands for another: success imagined, success real.

Dimension letters: P policies, E episodes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats

from envs.errors import UserError

PERMUTATIONS = 9999


def fidelity(real: np.ndarray, imagined: np.ndarray) -> Mapping[str, float]:
    """Of success rates [P] in both places.

    pearson_r with Fisher's interval low … high; p, the share of random pairings that give as large an r; spearman; mmrv, the
    mean over policies of the largest real difference to one that is ranked the other way (SIMPLER, arXiv 2405.05941: the
    smaller the better, ties in what is imagined count as ranked alike); mean_gap, imagined less real; leverage, the range of
    r when one policy is left out, worst_r … best_r.

    Raises:
        UserError: fewer than four policies, or no spread among them.
    """
    if len(real) < 4 or np.ptp(real) == 0 or np.ptp(imagined) == 0:
        raise UserError(
            "fidelity needs at least four policies, and not all of one success: add temperatures, noise or runs"
        )
    found = stats.pearsonr(real, imagined)
    interval = found.confidence_interval(0.95)
    random = np.random.default_rng(0)
    shuffled = [stats.pearsonr(real, random.permutation(imagined)).statistic for _ in range(PERMUTATIONS)]
    rows = np.arange(len(real))
    without = [
        stats.pearsonr(real[rows != row], imagined[rows != row]).statistic
        for row in rows
        if np.ptp(real[rows != row]) > 0 and np.ptp(imagined[rows != row]) > 0
    ]
    return {
        "pearson_r": float(found.statistic),
        "low": float(interval.low),
        "high": float(interval.high),
        "p": (1 + float(np.sum(np.array(shuffled) >= found.statistic))) / (PERMUTATIONS + 1),
        "spearman": float(stats.spearmanr(real, imagined).statistic),
        "mmrv": mmrv(real, imagined),
        "mean_gap": float(np.mean(imagined - real)),
        "worst_r": float(min(without)),
        "best_r": float(max(without)),
    }


def mmrv(real: np.ndarray, imagined: np.ndarray) -> float:
    """Mean maximum rank violation, see `fidelity`."""
    gap = real[:, None] - real
    other_way = (imagined[:, None] - imagined) * gap < 0
    return float(np.mean(np.max(np.abs(gap) * other_way, axis=1)))


def told(truth: np.ndarray, verdict: np.ndarray) -> Mapping[str, float]:
    """Precision and recall of verdicts bool [E] against the truth bool [E]; NaN where nothing is to be told."""
    hits = float((truth & verdict).sum())
    positives, trues = float(verdict.sum()), float(truth.sum())
    return {
        "precision": hits / positives if positives else float("nan"),
        "recall": hits / trues if trues else float("nan"),
    }
