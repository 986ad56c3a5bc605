"""The weighted loss that every weighting method shares."""

from __future__ import annotations

from typing import Any

EPSILON = 1e-6


def weighted_loss(xp: Any, weight: Any, loss: Any) -> Any:
    """Per-sample losses [B] whose mean is L = Σ w ℓ / (Σ w + 1e-6): BC's learning rate carries over.

    A batch in which no weight is positive gives zeros, not a division by zero. World Value Models, arXiv 2606.24742,
    appendix E.
    """
    return weight / (xp.mean(weight) + EPSILON / len(weight)) * loss
