"""Where scores are cut into verdicts."""

from __future__ import annotations

import numpy as np


def sweep_threshold(scores: np.ndarray, truth: np.ndarray) -> tuple[float, dict[str, float]]:
    """The threshold with the best F1 of verdicts `scores >= threshold` against `truth` bool [N]; and f1, precision, recall.

    Halfway between the two scores that it separates; of equally good ones the highest.
    """
    order = np.unique(scores)
    cuts = np.append((order[1:] + order[:-1]) / 2, order[0])
    found = [(*_quality(scores >= cut, truth), cut) for cut in cuts]
    f1, precision, recall, cut = max(found, key=lambda entry: (entry[0], entry[3]))
    return float(cut), {"f1": f1, "precision": precision, "recall": recall}


def _quality(verdict: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """F1, precision, recall of verdicts bool [N]; 0 where there is nothing to divide by."""
    hits = float((verdict & truth).sum())
    precision = hits / max(float(verdict.sum()), 1.0)
    recall = hits / max(float(truth.sum()), 1.0)
    return 2 * precision * recall / max(precision + recall, 1e-9), precision, recall
