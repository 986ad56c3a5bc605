"""Statistics of an episode's features and of a whole store, as LeRobot's `meta/stats.json` has them.

min, max, mean and std are exact; a store's quantiles are the mean of its episodes' quantiles weighted by
their lengths, as LeRobot 0.4.4 aggregates them. Images: per channel, shape [3, 1, 1], scaled to 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.errors import UserError

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
Statistics = dict[str, dict[str, np.ndarray]]


def number_statistics(values: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics over the first axis of [T] or [T, D]: each [D], count [1]. Unknown rows (NaN) do not count."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    rows = rows[~np.isnan(rows).any(axis=1)]
    if not len(rows):
        names = ("min", "max", "mean", "std", *QUANTILES)
        return {"count": np.zeros(1, np.int64)} | {name: np.zeros(rows.shape[1]) for name in names}
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        "count": np.array([len(rows)]),
    } | dict(zip(QUANTILES, quantiles, strict=True))


def image_statistics(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of uint8 [T, H, W, 3] from each channel's histogram: [3, 1, 1] in 0..1; count [1] is T."""
    histogram = np.stack([np.bincount(frames[..., channel].ravel(), minlength=256) for channel in range(3)])
    levels = np.arange(256) / 255.0
    pixels = histogram.sum(axis=1, keepdims=True)
    mean = (histogram * levels).sum(axis=1, keepdims=True) / pixels
    variance = (histogram * (levels - mean) ** 2).sum(axis=1, keepdims=True) / pixels
    reached = histogram.cumsum(axis=1)
    statistics = {
        "min": levels[(histogram > 0).argmax(axis=1)],
        "max": levels[255 - (histogram[:, ::-1] > 0).argmax(axis=1)],
        "mean": mean[:, 0],
        "std": np.sqrt(variance[:, 0]),
    } | {name: levels[(reached >= share * pixels).argmax(axis=1)] for name, share in QUANTILES.items()}
    return {name: value.reshape(3, 1, 1) for name, value in statistics.items()} | {
        "count": np.array([len(frames)])
    }


def combine(total: Statistics | None, episode: Mapping[str, Mapping[str, np.ndarray]]) -> Statistics:
    """The statistics of both together (Chan et al. 1979 for the variance).

    Raises:
        UserError: they are not of the same features.
    """
    if total is None:
        return {
            feature: {name: np.asarray(value) for name, value in of.items()}
            for feature, of in episode.items()
        }
    if total.keys() != episode.keys():
        raise UserError(
            f"episodes have statistics of different features: {sorted(total.keys() ^ episode.keys())}"
        )
    return {feature: _combine(of, episode[feature]) for feature, of in total.items()}


def _combine(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not (a["count"][0] and b["count"][0]):
        return dict(a if a["count"][0] else b)
    count = a["count"] + b["count"]
    share = float(b["count"][0] / count[0])
    shift = b["mean"] - a["mean"]
    variance = (1 - share) * a["std"] ** 2 + share * b["std"] ** 2 + share * (1 - share) * shift**2
    return {
        "min": np.minimum(a["min"], b["min"]),
        "max": np.maximum(a["max"], b["max"]),
        "mean": a["mean"] + share * shift,
        "std": np.sqrt(variance),
        "count": count,
    } | {name: (1 - share) * a[name] + share * b[name] for name in QUANTILES if name in a and name in b}


def to_json(statistics: Statistics) -> dict[str, dict[str, list]]:
    """Nested lists, as `meta/stats.json` holds them."""
    return {
        feature: {name: value.tolist() for name, value in of.items()} for feature, of in statistics.items()
    }
