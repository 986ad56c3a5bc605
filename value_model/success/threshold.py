"""Where scores are cut into verdicts."""

from __future__ import annotations

import numpy as np


def sweep_threshold(scores: np.ndarray, truth: np.ndarray) -> tuple[float, dict[str, float]]:
    """The threshold with the best F1 of verdicts `scores >= threshold` against `truth` bool [N]; and f1, precision, recall.

    Halfway between the two scores that it separates; of equally good ones the highest.
    """
    order = np.unique(scores)
    cuts = np.append((order[1:] + order[:-1]) / 2, order[0])
    found = [(agreement(scores >= cut, truth), float(cut)) for cut in cuts]
    best, cut = max(found, key=lambda entry: (entry[0]["f1"], entry[1]))
    return cut, best


def agreement(verdict: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """F1, precision, recall of verdicts bool [N] against truth bool [N]; 0 where there is nothing to divide by."""
    hits = float((verdict & truth).sum())
    precision = hits / max(float(verdict.sum()), 1.0)
    recall = hits / max(float(truth.sum()), 1.0)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"f1": f1, "precision": precision, "recall": recall}
