"""Success rates and their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Z_95 = 1.959964


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
    """Success over training seeds and episodes: bool [S, E] -> mean and 95 % interval.

    Wilson's interval on the effective number of trials: S·E, divided by how many times more the seeds' rates
    scatter than binomial noise alone explains (never less than once).
    """
    rates = success.mean(axis=1)
    rate = float(rates.mean())
    seeds, episodes = success.shape
    excess = 1.0
    if seeds > 1 and 0 < rate < 1:
        excess = max(1.0, float(rates.var(ddof=1)) / (rate * (1 - rate) / episodes))
    return wilson(rate, seeds * episodes / excess)


def paired_difference(success: np.ndarray, baseline: np.ndarray) -> Interval:
    """Mean of `success − baseline`, both bool [S, E] on the same seeds and episodes, with its 95 % interval.

    The standard error is the larger of the one over episodes and the one over seeds.
    """
    difference = success.astype(float) - baseline.astype(float)
    seeds, episodes = difference.shape
    variances = [difference.var(ddof=1) / (seeds * episodes) if difference.size > 1 else 0.0]
    if seeds > 1:
        variances.append(difference.mean(axis=1).var(ddof=1) / seeds)
    half = Z_95 * float(np.sqrt(max(variances)))
    mean = float(difference.mean())
    return Interval(mean, mean - half, mean + half)
