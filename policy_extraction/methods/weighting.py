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


def top_share(values: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool [N]: the round(share · N) largest of `values` [N], ties broken by the seed.

    By rank, not by a threshold: where many values are equal (pauses gain exactly 0), a quantile sits on
    the tie and would keep all of them or none.
    """
    order = np.lexsort((np.random.default_rng(seed).random(len(values)), -values))
    kept = np.zeros(len(values), bool)
    kept[order[: round(share * len(values))]] = True
    return kept
