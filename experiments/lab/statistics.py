"""Success rates and their uncertainty.

An interval over S training seeds is the wider of two: the one over all episodes, as if the seeds were alike, and
Student's over the seeds' own means, whose variance is estimated with S − 1 degrees of freedom. With one seed there is
only the first, which says nothing of another training.

Dimension letters: S training seeds, E episodes of each, N = S · E.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

Z_95 = 1.959964
HALVINGS = 60  # of [−1, 1], until its ends are equal


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def wilson(rate: float, count: float) -> Interval:
    """Wilson's score interval of a rate that was seen in `count` independent trials.

    (p + z²/2n ± z·sqrt(p(1−p)/n + z²/4n²)) / (1 + z²/n)   (Wilson 1927)
    """
    z2 = Z_95**2
    centre = (rate + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 * np.sqrt(rate * (1 - rate) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return Interval(rate, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def success_rate(success: np.ndarray) -> Interval:
    """Success over training seeds and episodes: bool [S, E] -> mean and 95 % interval."""
    return rate_of_seeds(success.mean(axis=1), success.shape[1])


def rate_of_seeds(rates: np.ndarray, episodes: int) -> Interval:
    """The same from each seed's success rate, float [S], over `episodes` episodes: Wilson's over all of them."""
    return _wider(wilson(float(rates.mean()), len(rates) * episodes), rates, 0.0)


def paired_difference(success: np.ndarray, baseline: np.ndarray) -> Interval:
    """Mean of `success − baseline`, both bool [S, E] on the same seeds and episodes, with its 95 % interval."""
    won = int((success & ~baseline).sum())
    lost = int((baseline & ~success).sum())
    return difference_of_seeds(success.mean(axis=1) - baseline.mean(axis=1), won, lost, success.size)


def difference_of_seeds(differences: np.ndarray, won: int, lost: int, pairs: int) -> Interval:
    """The same from each seed's mean difference, float [S], and the numbers of pairs: Tango's over all of them.

    Args:
        won: pairs in which only the first succeeded; lost: only the second; pairs: all N.
    """
    return _wider(tango(won, lost, pairs), differences, -1.0)


def tango(won: int, lost: int, pairs: int) -> Interval:
    """Score interval of (won − lost) / pairs, which has a width even where all pairs agree.

    The ends solve (won − lost − nΔ)² = z² n (2q + Δ(1 − Δ)), with q the most likely probability of losing a pair under
    Δ   (Tango 1998)
    """
    return Interval((won - lost) / pairs, -_score_end(lost, won, pairs), _score_end(won, lost, pairs))


def mean_interval(values: np.ndarray) -> Interval | None:
    """The mean of independent values, float [N], with Student's 95 % interval; None for fewer than two of them."""
    if len(values) < 2:
        return None
    half = student(len(values) - 1) * float(np.sqrt(values.var(ddof=1) / len(values)))
    mean = float(values.mean())
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Share:
    """A ratio of two means with the ends of its 95 % interval; None where it has none."""

    mean: float
    low: float | None
    high: float | None


def share_of_gap(success: np.ndarray, baseline: np.ndarray, ceiling: np.ndarray) -> Share | None:
    """How much of the way from the baseline to the ceiling a method goes, all three bool [S, E] on the same episodes.

    The interval is Fieller's (1954), over pairs of episodes or over seeds, whichever is wider. None where the ceiling is not
    above the baseline.
    """
    won, gap = success.astype(float) - baseline, ceiling.astype(float) - baseline
    if gap.mean() <= 0:
        return None
    ends = [_fieller(won.ravel(), gap.ravel(), Z_95)]
    if len(success) > 1:
        ends.append(_fieller(won.mean(axis=1), gap.mean(axis=1), student(len(success) - 1)))
    known = [one for one in ends if one is not None]
    mean = float(won.mean() / gap.mean())
    if len(known) < len(ends):
        return Share(mean, None, None)
    return Share(mean, min(low for low, _ in known), max(high for _, high in known))


def _fieller(top: np.ndarray, bottom: np.ndarray, quantile: float) -> tuple[float, float] | None:
    """The ends for mean(top) / mean(bottom), both [N] in pairs; None where the lower mean may be 0: there are none."""
    a, b = top.mean(), bottom.mean()
    (v_a, v_ab), (_, v_b) = np.cov(top, bottom) / len(top)
    t2 = quantile**2
    square = b**2 - t2 * v_b
    if square <= 0:
        return None
    middle, root = a * b - t2 * v_ab, (a * b - t2 * v_ab) ** 2 - square * (a**2 - t2 * v_a)
    half = np.sqrt(max(root, 0.0))
    return float((middle - half) / square), float((middle + half) / square)


def student(degrees: int) -> float:
    """Student's .975 quantile."""
    return float(stdtrit(degrees, 0.975))


def _score_end(won: int, lost: int, pairs: int) -> float:
    """The upper end, by halving: the score falls as Δ grows."""
    low, high = (won - lost) / pairs, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = (won - lost - pairs * middle) ** 2 <= Z_95**2 * pairs * _variance(won, lost, pairs, middle)
        low, high = (middle, high) if inside else (low, middle)
    return high


def _variance(won: int, lost: int, pairs: int, difference: float) -> float:
    """Of a pair's difference, if Δ were `difference`."""
    linear = (2 * pairs - won + lost) * difference - won - lost
    constant = -lost * difference * (1 - difference)
    q = (np.sqrt(max(linear**2 - 8 * pairs * constant, 0.0)) - linear) / (4 * pairs)
    return float(2 * q + difference * (1 - difference))


def _wider(alike: Interval, seeds: np.ndarray, least: float) -> Interval:
    """The interval, widened to mean ± t(S − 1) · sqrt(s² / S) of the seeds' means [S], within [least, 1]."""
    if len(seeds) < 2:
        return alike
    half = student(len(seeds) - 1) * float(np.sqrt(seeds.var(ddof=1) / len(seeds)))
    mean = alike.mean
    return Interval(mean, min(alike.low, max(least, mean - half)), max(alike.high, min(1.0, mean + half)))
