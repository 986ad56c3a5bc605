"""What several weighting methods share."""

from __future__ import annotations

from typing import Any

import numpy as np

EPSILON = 1e-6


def weighted_loss(xp: Any, weight: Any, loss: Any) -> Any:
    """Per-sample losses [B] whose mean is L = Σ w ℓ / (Σ w + 1e-6): BC's learning rate carries over.

    A batch without any weight gives zeros. World Value Models, arXiv 2606.24742, appendix E.
    """
    return weight / (xp.mean(weight) + EPSILON / len(weight)) * loss


def neutral(xp: Any, weight: Any) -> Any:
    """Weights [B] in which an unknown one (NaN) is the mean of the known, as in behaviour cloning; 1 if none is known."""
    unknown = xp.isnan(weight)
    known = xp.clip(xp.sum(~unknown), 1, None)
    mean = xp.sum(xp.where(unknown, 0.0, weight)) / known
    return xp.where(unknown, xp.where(unknown.all(), 1.0, mean), weight)


def top_share(values: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool [N]: the round(share · M) largest of the M known ones of `values` [N], ties broken by the seed.

    By rank, not by a threshold: where many values are equal (pauses gain exactly 0), a quantile sits on
    the tie and would keep all of them or none. Unknown values (NaN) are not ranked, and never among the largest.
    """
    order = np.lexsort((np.random.default_rng(seed).random(len(values)), -values))  # NaN last
    kept = np.zeros(len(values), bool)
    kept[order[: round(share * np.count_nonzero(~np.isnan(values)))]] = True
    return kept
