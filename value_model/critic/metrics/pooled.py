"""Metrics of many trajectories together, each with its bootstrap in one call.

Every function takes how often each trajectory counts, `weights` [B, n], and gives B estimates: row b is the estimate on
the data set in which trajectory i occurs weights[b, i] times. Ones give the plain estimate, rescaled multinomial counts
a bootstrap (Efron 1979; Rao and Wu 1988). NaN scores are left out; an estimate from nothing is NaN.

Dimension letters: B estimates, n trajectories, N frames of all trajectories.
"""

from __future__ import annotations

import itertools

import numpy as np


def resampled(strata: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Bootstrap weights float32 [count, n]: within each stratum of m, m − 1 draws with replacement, times m / (m − 1).

    As many draws as members would make variances (m − 1) / m of what they are: too small by a fourth where m is 4
    (Rao and Wu 1988). Strata of a single trajectory are drawn from together; if there is but one, it always counts once.

    Args:
        strata: a number for each trajectory [n]; those with the same number are interchangeable.
    """
    random = np.random.default_rng(seed)
    _, inverse, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    inverse = np.where(sizes[inverse] == 1, -1, inverse)
    weights = np.ones((count, len(strata)), np.float32)
    for stratum in np.unique(inverse):
        members = np.flatnonzero(inverse == stratum)
        if (size := len(members)) > 1:
            drawn = random.multinomial(size - 1, np.full(size, 1 / size), size=count)
            weights[:, members] = drawn * (size / (size - 1))
    return weights


def mean(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means [B] of the scores [n]."""
    scores, weights = _known(scores, weights)
    return _ratio(weights @ scores, weights.sum(axis=1))


def auroc(
    positive: np.ndarray, negative: np.ndarray, positive_weights: np.ndarray, negative_weights: np.ndarray
) -> np.ndarray:
    """Probabilities [B] that a positive scores above a negative, ties counted half: area under the ROC curve."""
    positive, positive_weights = _known(positive, positive_weights)
    negative, negative_weights = _known(negative, negative_weights)
    above = (1 + np.sign(positive[:, None] - negative[None, :])) / 2
    pairs = positive_weights.sum(axis=1) * negative_weights.sum(axis=1)
    return _ratio(((positive_weights @ above) * negative_weights).sum(axis=1), pairs)


def kendall_tau(scores: np.ndarray, ranks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean Kendall τ_a [B] of all groups with one trajectory of each rank, such as (failure, suboptimal, success).

    In a group of k, τ_a = (concordant − discordant) / (k (k − 1) / 2); a tie of the scores is neither. The mean over
    all groups is that of 2 AUROC − 1 over the pairs of ranks.

    Args:
        scores: [n]; ranks: which of the classes a trajectory is of, integers [n], higher is better.
    """
    pairs = []
    for low, high in itertools.combinations(np.unique(ranks), 2):
        worse, better = ranks == low, ranks == high
        above = auroc(scores[better], scores[worse], weights[:, better], weights[:, worse])
        pairs.append(2 * above - 1)
    return np.mean(pairs, axis=0) if pairs else np.full(len(weights), np.nan)


def average_precision(
    scores: np.ndarray, positive: np.ndarray, owner: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Areas [B] under the precision-recall curve, Σ (R_k − R_{k−1}) P_k over the thresholds; ties share a threshold.

    Args:
        scores: of frames [N], higher is more likely positive; positive: bool [N].
        owner: which trajectory a frame is of, integers [N]; weights: of the trajectories [B, n].
    """
    thresholds, inverse = np.unique(-scores, return_inverse=True)
    hits, all_frames = (np.zeros((weights.shape[1], len(thresholds)), np.float32) for _ in range(2))
    np.add.at(all_frames, (owner, inverse), 1)
    np.add.at(hits, (owner, inverse), positive)
    found = weights @ hits
    precision = _ratio(np.cumsum(found, axis=1), np.cumsum(weights @ all_frames, axis=1), 0.0)
    return _ratio((found * precision).sum(axis=1), found.sum(axis=1))


def rank_correlation(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman's correlations [B] of two scores [n]; NaN where one of them is constant."""
    known = ~(np.isnan(first) | np.isnan(second))
    if not known.any():
        return np.full(len(weights), np.nan)
    weights = weights[:, known]
    a, b = (_weighted_ranks(scores[known], weights) for scores in (first, second))
    total = weights.sum(axis=1, keepdims=True)
    a, b = (ranks - _ratio((weights * ranks).sum(axis=1, keepdims=True), total) for ranks in (a, b))
    scale = np.sqrt((weights * a**2).sum(axis=1) * (weights * b**2).sum(axis=1))
    return _ratio((weights * a * b).sum(axis=1), scale)


def drops(values: np.ndarray, window: int) -> np.ndarray:
    """D(t) = max v[t − window .. t] − v(t), [T]: how far the value has fallen within the last `window` frames."""
    padded = np.concatenate([np.full(window, -np.inf), values])
    return np.lib.stride_tricks.sliding_window_view(padded, window + 1).max(axis=1) - values


def _known(scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = ~np.isnan(scores)
    return scores[known], weights[:, known].astype(np.float64)


def _weighted_ranks(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average ranks [B, n] in the data set in which score i occurs weights[b, i] times."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    ties = np.add.reduceat(weights[:, order].astype(np.float64), starts, axis=1)
    return (np.cumsum(ties, axis=1) - (ties - 1) / 2)[:, inverse]


def _ratio(numerator: np.ndarray, denominator: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    """numerator / denominator, `otherwise` where that is 0."""
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), otherwise, np.float64)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)
