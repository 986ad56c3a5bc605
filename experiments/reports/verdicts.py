"""How good the verdicts of judges are against the truth.

Dimension letter: R rollouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import rankdata

from experiments.lab.statistics import wilson
from experiments.reports.run_report import table

SHARES = ("precision", "recall", "no_verdict")


def verdict_quality(
    rewards: np.ndarray, values: np.ndarray, truth: np.ndarray, cut: float
) -> Mapping[str, Any]:
    """Of one judge: precision, recall and share without a verdict, each [rate, low, high] by Wilson; f1; auc.

    Rollouts without a verdict count in the last share alone. What has nothing to divide by is None.

    Args:
        rewards: float [R], NaN for no verdict; from `cut` on a rollout counts as solved.
        values: float [R], what `auc` ranks by; truth: bool [R].
    """
    known = ~np.isnan(rewards)
    verdict, solved = rewards[known] >= cut, truth[known]
    hits = int((verdict & solved).sum())
    precision, recall = _share(hits, int(verdict.sum())), _share(hits, int(solved.sum()))
    claimed = int(verdict.sum()) + int(solved.sum())
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * hits / claimed if claimed else None,
        "auc": area_under_curve(values[known], solved),
        "no_verdict": _share(int((~known).sum()), len(known)),
    }


def area_under_curve(values: np.ndarray, truth: np.ndarray) -> float | None:
    """How probable it is that a solved rollout has the larger value of the two, half a tie; None without both outcomes.

    (sum of the solved ones' ranks − n₁(n₁ + 1)/2) / (n₁ n₀)   (Mann and Whitney 1947)
    """
    solved, failed = int(truth.sum()), int((~truth).sum())
    if not solved or not failed:
        return None
    ranks = rankdata(values)
    return float((ranks[truth].sum() - solved * (solved + 1) / 2) / (solved * failed))


def verdict_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One row a judge."""
    rows = [
        [
            name,
            *(interval(quality[share]) for share in SHARES[:2]),
            *("–" if quality[what] is None else f"{quality[what]:.2f}" for what in ("f1", "auc")),
            interval(quality["no_verdict"]),
        ]
        for name, quality in found.items()
    ]
    return table(["judge", "precision", "recall", "F1", "AUC", "no verdict"], rows)


def _share(count: int, of: int) -> list[float] | None:
    if not of:
        return None
    found = wilson(count / of, of)
    return [found.mean, found.low, found.high]


def interval(share: list[float] | None) -> str:
    """`.85 [.73, .92]`, or a dash where there is nothing to divide by."""
    return "–" if share is None else f"{share[0]:.2f} [{share[1]:.2f}, {share[2]:.2f}]"
