"""A comparison's table, picture and JSON: one row for each configuration, over its seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.files import atomic_file
from experiments.choices.ceiling import ceiling_digest, is_ceiling
from experiments.lab.artifacts import canonical, digest
from experiments.lab.provenance import made_by
from experiments.lab.statistics import Interval, Share, paired_difference, share_of_gap, success_rate, wilson
from experiments.reports.figures import draw_comparison
from experiments.reports.run_report import counted, percent, points, table
from experiments.settings.chosen import Chosen
from experiments.settings.config import RunConfig
from experiments.settings.resolve import resolved
from experiments.stages.evaluate import Evaluation, failures, median_length

BASELINE = "bc"
COLUMNS = ("task", "method", "critic")  # of the table; what else varies stands beside the method


@dataclass(frozen=True)
class Row:
    """One line of the table: the evaluations of one configuration under several seeds.

    varied: what tells it from the other rows, {group or setting: value}; seeds: of the evaluations.
    """

    chosen: Chosen
    varied: Mapping[str, str]
    seeds: tuple[int, ...]
    evaluations: tuple[Evaluation, ...]
    before: tuple[Evaluation, ...]

    def success(self, horizon: int | None = None) -> np.ndarray:
        """bool [S, E]."""
        return np.stack([evaluation.success(horizon) for evaluation in self.evaluations])

    def named(self, group: str, others: bool = False) -> str:
        """What was chosen of a group, with its settings that vary; with `others` those of no column as well."""
        told = [self.chosen.names[group]]
        for key, value in self.varied.items():
            if key.startswith(f"{group}."):
                told.append(f"{key.removeprefix(f'{group}.')}={value}")
            elif others and key.split(".")[0] not in COLUMNS:
                told.append(f"{key}={value}")
        return " ".join(told)

    @property
    def median_length(self) -> float | None:
        """Median control steps of all successes within the horizon."""
        return median_length(self.evaluations)


def baseline_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """Behaviour cloning that matches in everything but the method and its settings, on the same seeds."""

    def rest(one: Row) -> str:
        return digest([replace(one.chosen.unseeded, method=None), one.seeds])

    for other in rows:
        if other is not row and other.chosen.names["method"] == BASELINE and rest(other) == rest(row):
            return other
    return None


def ceiling_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """Cloning of as many clean demonstrations on the same seeds, if it was asked for."""
    for other in rows:
        same = other.seeds == row.seeds and ceiling_digest(other.chosen) == ceiling_digest(row.chosen)
        if other is not row and is_ceiling(other.chosen) and same:
            return other
    return None


def share_won(row: Row, rows: Sequence[Row]) -> Share | None:
    """What share of the gap between cloning these data and cloning clean ones the row closes."""
    baseline, ceiling = baseline_of(row, rows), ceiling_of(row, rows)
    if baseline is None or ceiling is None:
        return None
    return share_of_gap(row.success(), baseline.success(), ceiling.success())


def row_numbers(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """One row as JSON data."""
    rate, baseline = success_rate(row.success()), baseline_of(row, rows)
    first = row.evaluations[0]
    config = resolved(row.chosen.config)
    horizons = first.horizons(config.evaluate.stretch)
    return {
        "method": row.named("method", others=True),
        "task": row.named("task"),
        "critic": row.named("critic"),
        "choices": dict(row.chosen.names),
        "varied": dict(row.varied),
        "settings": canonical(config),
        "success": rate.mean,
        "low": rate.low,
        "high": rate.high,
        "seeds": len(row.evaluations),
        "episodes": len(first.seed),
        "difference_to_bc": asdict(paired_difference(row.success(), baseline.success()))
        if baseline
        else None,
        "share_of_clean_gap": None if (share := share_won(row, rows)) is None else asdict(share),
        "success_by_seed": [float(evaluation.success().mean()) for evaluation in row.evaluations],
        "horizons": {str(steps): asdict(success_rate(row.success(steps))) for steps in horizons},
        "median_length": row.median_length,
        "failures": failures(row.evaluations),
    }


def publish(rows: Sequence[Row], arguments: Sequence[str]) -> None:
    """Print and write the table; the last line printed is JSON."""
    found = [row_numbers(row, rows) for row in rows]
    base = [{"task": row.named("task"), **asdict(_pooled_rate(row.before))} for row in rows if row.before]
    base = [entry for number, entry in enumerate(base) if entry not in base[:number]]
    text = _table(found)
    for entry in base:
        text += f"\n\nBefore, on {entry['task']}: {percent(entry)}."
    config: RunConfig = rows[0].chosen.config
    name = config.name or digest([[row.chosen.config, row.seeds] for row in rows])[:8]
    folder = Path(config.outputs) / "compare" / name
    folder.mkdir(parents=True, exist_ok=True)
    line = f"python -m experiments.compare {' '.join(arguments)}".strip()
    head = f"# Comparison\n\n`{line}`\n\n{_caption(rows)}"
    results = {"command": line, "rows": found, "base": base, "made_by": made_by()}
    intervals = {
        f"{f['method']} ({f['critic']}, {f['task']})": Interval(f["success"], f["low"], f["high"])
        for f in found
    }
    assert len(intervals) == len(rows), "every row has a name of its own"
    draw_comparison(intervals, folder / "success.png")
    for file, content in {
        "results.json": json.dumps(results, indent=1),
        "table.md": f"{head}\n\n{text}\n",
    }.items():
        with atomic_file(folder / file) as temporary:
            temporary.write_text(content)
    print(text)
    print(f"\nwritten to {folder}")
    shown = [{name: value for name, value in row.items() if name != "settings"} for row in found]
    print(json.dumps({"rows": shown}))


def _caption(rows: Sequence[Row]) -> str:
    first = rows[0].evaluations[0]
    updates = sorted({resolved(row.chosen.config).train.updates for row in rows})
    return (
        f"Success within {first.horizon} control steps, mean and 95 % interval over "
        f"{len(rows[0].evaluations)} seeds × {len(first.seed)} episodes (the wider of Wilson's over episodes and "
        f"Student's over seeds); {' or '.join(map(str, updates))} updates, from the same start. Difference to behaviour "
        "cloning: paired (the wider of Tango's over pairs of episodes and Student's over seeds)."
    )


def _table(found: Sequence[dict[str, Any]]) -> str:
    cells, shares = [], any(row["share_of_clean_gap"] for row in found)
    told = any(row["failures"] for row in found)
    for row in found:
        difference = row["difference_to_bc"]
        rate = {"mean": row["success"], "low": row["low"], "high": row["high"]}
        shorter = [f"{100 * interval['mean']:.0f} %" for interval in row["horizons"].values()]
        cells.append(
            [
                row["method"],
                row["task"],
                row["critic"],
                percent(rate),
                points(difference),
                " / ".join(shorter),
                "–" if row["median_length"] is None else f"{row['median_length']:.0f}",
                *([_share(row["share_of_clean_gap"])] if shares else []),
                *([counted(row["failures"])] if told else []),
            ]
        )
    steps = " / ".join(found[0]["horizons"])
    head = [
        "method",
        "task",
        "critic",
        "success",
        "difference to bc",
        f"within {steps} steps",
        "median length",
        *(["share of the clean gap"] if shares else []),
        *(["the object of the others"] if told else []),
    ]
    return table(head, cells)


def _share(share: Mapping[str, Any] | None) -> str:
    """In words: with its interval, if it has one."""
    if share is None:
        return "–"
    ends = "" if share["low"] is None else f" [{100 * share['low']:.0f}, {100 * share['high']:.0f}]"
    return f"{100 * share['mean']:.0f} %{ends}"


def _pooled_rate(evaluations: Sequence[Evaluation]) -> Interval:
    """Success of one policy, which no seed has trained yet, over all episodes."""
    success = np.concatenate([one.success() for one in evaluations])
    return wilson(float(success.mean()), len(success))
