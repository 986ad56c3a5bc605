"""Rows of the comparison over its seeds, as numbers and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from experiments.gymnast.runs import Trained
from experiments.lab.statistics import Interval, paired_difference, success_rate
from experiments.reports.hypertext import table
from experiments.reports.run_report import percent, points
from experiments.reports.verdicts import interval, verdict_quality
from experiments.stages.evaluate import Evaluation, median_length
from experiments.stages.world_verdicts import Verdicts

BASELINE = "sft"


def rows_of(trained: Sequence[Trained]) -> list[dict[str, Any]]:
    """One row for each method, task, budget and round; those that differ in the seed alone together.

    Success is at the sampling temperature that is best on these very episodes, for every row alike: this favours whoever
    gains most from the choice, which is the policy before training (sharpening is not learning).
    """
    groups: dict[Any, list[Trained]] = {}
    for one in trained:
        groups.setdefault(replace(one.cell, seed=0), []).append(one)
    base = {group[0].cell.task: group for group in groups.values() if group[0].cell.method == BASELINE}
    return [_row(group, base.get(group[0].cell.task)) for group in groups.values()]


def _row(group: Sequence[Trained], base: Sequence[Trained] | None) -> dict[str, Any]:
    cell = group[0].cell
    heats = {heat: _rate([one.success[heat] for one in group]) for heat in group[0].success}
    best = max(heats, key=lambda heat: heats[heat].mean)
    evaluations = [one.success[best] for one in group]
    imagined = [one.imagined for one in group if one.imagined is not None]
    return {
        "method": cell.method,
        "task": cell.task,
        "budget": 0 if cell.method == BASELINE else cell.budget,
        "round": cell.round,
        "success": heats[best].mean,
        "low": heats[best].low,
        "high": heats[best].high,
        "temperature": best,
        "by_temperature": {f"{heat:g}": asdict(rate) for heat, rate in heats.items()},
        "by_seed": [float(one.success().mean()) for one in evaluations],
        "difference_to_sft": _difference(evaluations, _before(group, base)),
        "others": _others(group),
        "median_length": median_length(evaluations),
        "imagined": float(np.mean([one.success().mean() for one in imagined])) if imagined else None,
        "real_steps": float(np.mean([one.real_steps for one in group])),
        "seconds": float(np.mean([one.seconds for one in group])),
        "whole_seconds": float(np.mean([one.whole for one in group])),
        "seeds": len(group),
        "episodes": len(evaluations[0].seed),
        "commands": [f"python -m experiments.run {' '.join(one.words)}" for one in group],
    }


def _rate(evaluations: Sequence[Evaluation]) -> Interval:
    return success_rate(np.stack([one.success() for one in evaluations]))


def _before(group: Sequence[Trained], base: Sequence[Trained] | None) -> list[dict[float, Evaluation]] | None:
    """Of each training, the policy that it began with, on the same episodes; None where that was not measured."""
    if all(one.before for one in group):
        return [one.before for one in group]
    of = {one.cell.seed: one.success for one in base or ()}
    return [of[one.cell.seed] for one in group] if all(one.cell.seed in of for one in group) else None


def _difference(
    evaluations: Sequence[Evaluation], before: Sequence[dict[float, Evaluation]] | None
) -> dict[str, float] | None:
    """To the policy before training at its own best temperature."""
    if before is None:
        return None
    best = max(before[0], key=lambda heat: _rate([one[heat] for one in before]).mean)
    began = np.stack([one[best].success() for one in before])
    return asdict(paired_difference(np.stack([one.success() for one in evaluations]), began))


def _others(group: Sequence[Trained]) -> dict[str, float] | None:
    """Mean change of success on the other tasks, of training in one scene."""
    pairs = [pair for one in group for pair in one.others.values()]
    if not pairs:
        return None
    before, after = (np.stack([pair[number].success() for pair in pairs]) for number in (0, 1))
    return asdict(paired_difference(after, before))


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table; what training in one scene did to the other tasks is told where that was done."""
    told = any(row["others"] is not None for row in rows)
    head = [
        "task",
        "method",
        "success",
        "to sft, points",
        "T",
        "median steps",
        "imagined",
        "real steps",
        "train, s",
        "in all, s",
    ]
    cells = [_cells(row) + [points(row["others"])] * told for row in sorted(rows, key=_place)]
    return table(head + ["other tasks, points"] * told, cells)


def means(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean success over the tasks of each method, where it has been measured on all of them."""
    tasks = {row["task"] for row in rows}
    names = list(dict.fromkeys(_name(row) for row in rows))
    found = []
    for name in names:
        own = [row for row in rows if _name(row) == name]
        if {row["task"] for row in own} == tasks:
            seen = [row["imagined"] for row in own]
            imagined = "–" if None in seen else f"{100 * np.mean(seen):.0f} %"
            found.append([name, f"{100 * np.mean([row['success'] for row in own]):.0f} %", imagined])
    return table([f"mean of {len(tasks)} tasks", "success", "imagined"], found)


def verdicts_table(found: Mapping[str, Mapping[str, Verdicts]]) -> str:
    """A row a task and kind of rollouts: how many were solved, how many look it, and how far they are the same."""
    rows = []
    for task, kinds in found.items():
        for kind, one in kinds.items():
            told = verdict_quality(one.said.astype(float), one.said.astype(float), one.solved, 0.5)
            rates = (f"{100 * float(np.mean(part)):.0f} %" for part in (one.solved, one.said))
            shares = interval(told["precision"]), interval(told["recall"])
            rows.append([task, kind, str(len(one.said)), *rates, *shares])
    return table(["task", "actions", "rollouts", "solved", "look solved", "precision", "recall"], rows)


def _cells(row: Mapping[str, Any]) -> list[str]:
    length, imagined = row["median_length"], row["imagined"]
    return [
        row["task"],
        _name(row),
        percent({"mean": row["success"], "low": row["low"], "high": row["high"]}),
        points(row["difference_to_sft"]),
        f"{row['temperature']:g}",
        "–" if length is None else f"{length:.0f}",
        "–" if imagined is None else f"{100 * imagined:.0f} %",
        f"{row['real_steps']:,.0f}",
        f"{row['seconds']:,.0f}",
        f"{row['whole_seconds']:,.0f}",
    ]


def _name(row: Mapping[str, Any]) -> str:
    """What a row is called: the method, its budget, and its round if it is not the first."""
    budget = f" {row['budget']}" if row["budget"] else ""
    return f"{row['method']}{budget}" + (f" × {row['round']}" if row["round"] > 1 else "")


def _place(row: Mapping[str, Any]) -> tuple[str, int, int]:
    return row["task"], row["budget"], row["round"]
