"""From a critic's values to the benchmark's figures: scores of trajectories, their means, and intervals.

The interval of a figure is the central 95 % of its bootstrap: trajectories are drawn anew within each task, robot and
style, rescaled for how few those are (`pooled.resampled`), always with the same random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.store import EpisodeInfo
from experiments.value_benchmark.episodes import GROUPS, in_group
from experiments.value_benchmark.measures import Measures, trajectory_score
from value_model.critic.metrics import pooled
from value_model.critic.metrics.episodes import EXPERT_STYLES, Views, collect_scores, true_progress

DECIMALS = 3  # falls of the value that are equal to a thousandth share a threshold
POOLED = (
    "kendall_tau",
    "kendall_tau_final",
    "auroc",
    "drop_pr_auc",
    "drop_share",
    "length_correlation",
    "length_correlation_expert",
)


@dataclass(frozen=True)
class Estimate:
    """A figure, the ends of its 95 % interval, of how many trajectories it is, and the share of undefined ones.

    The share is of trajectories, for a pooled metric of tasks and robots. The figure is NaN where all are undefined.
    """

    value: float
    low: float
    high: float
    count: int
    undefined: float


class Scores:
    """All scores of a set of trajectories, and the estimates for any part of it.

    Args:
        infos: the trajectories, n of them; views: a critic's values of each; fps: frames a second.
    """

    def __init__(
        self, infos: Sequence[EpisodeInfo], views: Sequence[Views], fps: float, measures: Measures
    ) -> None:
        self.infos, self.views, self.measures = infos, views, measures
        self.window = max(1, round(measures.drop_seconds * fps / measures.every))
        self.combination = np.array([f"{info.task}-{info.robot}" for info in infos])
        self.style = np.array([info.style for info in infos])
        _, strata = np.unique(
            np.char.add(np.char.add(self.combination, " "), self.style), return_inverse=True
        )
        drawn = pooled.resampled(strata, measures.bootstrap)
        self.weights = np.concatenate([np.ones((1, len(infos)), np.float32), drawn])
        self.score = np.array([trajectory_score(of.base, measures.every) for of in views])
        self.single = collect_scores(zip(infos, views, strict=True), measures.every)
        self.pooled = {
            name: dict(self._pooled(np.flatnonzero(self.combination == name)))
            for name in np.unique(self.combination)
        }

    def _pooled(self, rows: np.ndarray) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
        """The metrics of one task and robot: (name, (its trajectories, estimates [1 + bootstrap]))."""
        success = np.array([self.infos[row].success for row in rows])
        expert = success & np.isin(self.style[rows], EXPERT_STYLES)
        marked = success & np.array([len(self.infos[row].segments) == 1 for row in rows])
        score, weights = self.score[rows], self.weights[:, rows]
        final = np.array([self.views[row].base[-1] for row in rows])
        rank = np.where(expert, 2, np.where(marked, 1, 0))
        ranked = expert | marked | ~success
        if len(np.unique(rank[ranked])) == 3:
            yield (
                "kendall_tau",
                (rows[ranked], pooled.kendall_tau(score[ranked], rank[ranked], weights[:, ranked])),
            )
            yield (
                "kendall_tau_final",
                (
                    rows[ranked],
                    pooled.kendall_tau(final[ranked], rank[ranked], weights[:, ranked]),
                ),
            )
        if success.any() and not success.all():
            area = pooled.auroc(final[success], final[~success], weights[:, success], weights[:, ~success])
            yield "auroc", (rows, area)
        yield from self._drop_detection(rows[expert | marked])
        length = np.array([self.infos[row].length for row in rows])
        for name, of in (("length_correlation", slice(None)), ("length_correlation_expert", expert)):
            yield name, (rows[of], pooled.rank_correlation(score[of], length[of], weights[:, of]))

    def _drop_detection(self, rows: np.ndarray) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
        """Are the windows in which the true value falls found by a fall of the predicted one?"""
        rows = np.array([row for row in rows if not self.views[row].missing], np.int64)
        if not any(segment.kind == "retry" for row in rows for segment in self.infos[row].segments):
            return
        every, window, weights = self.measures.every, self.window, self.weights[:, rows]
        truth = [true_progress(self.infos[row].length, self.infos[row].segments)[::every] for row in rows]
        lengths = np.array([len(curve) for curve in truth])
        falls = [pooled.drops(curve, window) > 1e-6 for curve in truth]
        found = [pooled.drops(self.views[row].base[::every], window) for row in rows]
        owner = np.repeat(np.arange(len(rows)), lengths)
        area = pooled.average_precision(
            np.concatenate(found).round(DECIMALS), np.concatenate(falls), owner, weights
        )
        yield "drop_pr_auc", (rows, area)
        share = np.array([inside.mean() for inside in falls])
        yield "drop_share", (rows, pooled.mean(share, weights * lengths))

    def estimates(self, inside: np.ndarray) -> dict[str, Estimate]:
        """Every metric over the trajectories `inside` (bool [n]).

        Metrics of single trajectories are means over them; pooled ones means over the tasks and robots.
        """
        estimates = {}
        for name, (rows, scores) in self.single.items():
            mine = inside[rows]
            if mine.any():
                found = pooled.mean(scores[mine], self.weights[:, rows[mine]])
                estimates[name] = _estimate(found, int(mine.sum()), float(np.isnan(scores[mine]).mean()))
        for name in POOLED:
            parts = [
                self.pooled[key][name]
                for key in np.unique(self.combination[inside])
                if name in self.pooled[key]
            ]
            if parts:
                rows = np.concatenate([rows for rows, _ in parts])
                found = _mean_of_known(np.stack([estimate for _, estimate in parts]))
                undefined = np.mean([np.isnan(estimate[0]) for _, estimate in parts])
                estimates[name] = _estimate(found, len(rows), float(undefined))
        return estimates

    def group(self, group: str) -> np.ndarray:
        """Which trajectories belong to a group: bool [n]."""
        return np.array([in_group(group, info.task, info.robot) for info in self.infos])

    def summary(self) -> dict[str, Any]:
        """The figures as JSON data: of the headline's group, then of every group, robot, task and combination."""
        groups = {group: self.group(group) for group in GROUPS if self.group(group).any()}
        headline = "robosuite" if "robosuite" in groups else "all"
        robots, tasks = (np.array([getattr(info, of) for info in self.infos]) for of in ("robot", "task"))
        return {
            "subset": headline,
            **flat(self.estimates(groups[headline])),
            "groups": {name: flat(self.estimates(inside)) for name, inside in groups.items()},
            "robots": {str(of): flat(self.estimates(robots == of)) for of in np.unique(robots)},
            "tasks": {str(of): flat(self.estimates(tasks == of)) for of in np.unique(tasks)},
            "combinations": {str(of): flat(self.estimates(self.combination == of)) for of in self.pooled},
        }


def flat(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    """{name, name_ci, name_undefined, name_count} of every estimate; what is undefined is null in JSON."""
    found: dict[str, Any] = {}
    for name, estimate in estimates.items():
        low, high = _plain(estimate.low), _plain(estimate.high)
        found |= {name: _plain(estimate.value), f"{name}_ci": [low, high]}
        found |= {f"{name}_undefined": estimate.undefined, f"{name}_count": estimate.count}
    return found


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _estimate(found: np.ndarray, count: int, undefined: float) -> Estimate:
    """From the estimate and its bootstrap [1 + B]."""
    known = found[1:][~np.isnan(found[1:])]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return Estimate(float(found[0]), float(low), float(high), count, undefined)


def _mean_of_known(parts: np.ndarray) -> np.ndarray:
    """Means over the first axis without NaN; NaN where there is nothing else."""
    known = ~np.isnan(parts)
    total = np.where(known, parts, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
