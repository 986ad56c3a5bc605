"""Methods against each other: same data, labels, base policy and number of updates.

    python -m experiments.compare method=bc,filtered_bc,awr seed=0,1,2
    python -m experiments.compare method=bc,awr critic=wvm,oracle task=stack,bread evaluate.episodes=100

Every setting may be a comma-separated list. Prints a table; the last line is JSON. Both, and a picture, are
also written to outputs/compare/<name>/.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file
from experiments.lab.artifacts import canonical, digest
from experiments.lab.simulators import Simulators
from experiments.lab.statistics import Interval, paired_difference, success_rate
from experiments.lab.tracking import tracked
from experiments.pipeline import run_experiment
from experiments.reports.figures import draw_comparison
from experiments.reports.results import choice_name, run_name
from experiments.reports.run_report import percent, table
from experiments.settings.cli import answer, configurations
from experiments.settings.command import command
from experiments.settings.compose import expand
from experiments.settings.config import RunConfig
from experiments.stages.evaluate import Evaluation

BASELINE = "bc"


@dataclass(frozen=True)
class Row:
    """One line of the table: the evaluations of one configuration under several seeds."""

    config: RunConfig
    label: str
    evaluations: tuple[Evaluation, ...]
    before: tuple[Evaluation, ...]

    def success(self, horizon: int | None = None) -> np.ndarray:
        """bool [S, E]."""
        return np.stack([evaluation.success(horizon) for evaluation in self.evaluations])

    def choice(self, group: str) -> str:
        """The name of what was chosen."""
        return choice_name(group, getattr(self.config, group))

    @property
    def median_length(self) -> float | None:
        """Median control steps of all successes within the horizon."""
        steps = np.concatenate([evaluation.steps[evaluation.success()] for evaluation in self.evaluations])
        return float(np.median(steps)) if len(steps) else None


def compare(configs: Sequence[RunConfig], arguments: Sequence[str]) -> None:
    """Run all configurations, those that differ in the seed alone as one row; print and write the table."""
    _check_alike(configs)
    groups = by_seed(configs, arguments)
    firsts = [group[0] for group in groups]
    rows = []
    with Simulators() as simulators:
        for group in groups:
            evaluations, before = [], []
            for config in group:
                position = (
                    f"[{sum(len(row.evaluations) for row in rows) + len(evaluations) + 1}/{len(configs)}]"
                )
                print(f"{position} {run_name(config)}", file=sys.stderr)
                with tracked(
                    config.wandb, run_name(config), Path(config.outputs), canonical(config)
                ) as tracker:
                    outcome = run_experiment(config, tracker, simulators)
                    tracker.summary({"success": outcome.after.rate().mean})
                evaluations.append(outcome.after)
                before += [outcome.before] if outcome.before else []
            rows.append(Row(group[0], _label(group[0], firsts), tuple(evaluations), tuple(before)))
    _publish(rows, configs[0], arguments)


def by_seed(configs: Sequence[RunConfig], arguments: Sequence[str]) -> list[list[RunConfig]]:
    """The configurations of a command line, those together that differ in the run's seed alone."""
    groups: dict[str, list[RunConfig]] = {}
    for config, words in zip(configs, expand(arguments), strict=True):
        settings = dict(word.split("=", 1) for word in words) | {"seed": ""}
        groups.setdefault(digest(settings), []).append(config)
    return list(groups.values())


def _check_alike(configs: Sequence[RunConfig]) -> None:
    """Refuse a comparison that would not be fair."""
    for setting in ("train.updates", "evaluate"):
        part, _, name = setting.partition(".")
        values = {digest(getattr(getattr(c, part), name) if name else getattr(c, part)) for c in configs}
        if len(values) > 1:
            raise UserError(f"{setting} must be the same for all that is compared")


def _label(config: RunConfig, configs: Sequence[RunConfig]) -> str:
    """The method's name, with those of its settings that vary within the comparison."""
    name = choice_name("method", config.method)
    same = [other.method for other in configs if type(other.method) is type(config.method)]
    varied = [
        f"{field}={value}"
        for field, value in vars(config.method).items()
        if any(getattr(other, field) != value for other in same)
    ]
    for group in ("data", "advantage", "policy"):
        if len({digest(getattr(other, group)) for other in configs}) > 1:
            varied.append(f"{group}={choice_name(group, getattr(config, group))}")
    return f"{name} {' '.join(varied)}".strip()


def _baseline(row: Row, rows: Sequence[Row]) -> Row | None:
    """Behaviour cloning on the same task, with the same critic, data and policy."""
    for other in rows:
        alike = all(
            getattr(other.config, group) == getattr(row.config, group)
            for group in ("task", "critic", "data", "policy")
        )
        if alike and choice_name("method", other.config.method) == BASELINE:
            return other if other is not row and len(other.evaluations) == len(row.evaluations) else None
    return None


def _numbers(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """One row as JSON data."""
    rate, baseline = success_rate(row.success()), _baseline(row, rows)
    first = row.evaluations[0]
    horizons = first.horizons(row.config.evaluate.stretch)
    return {
        "method": row.label,
        "task": row.choice("task"),
        "critic": row.choice("critic"),
        "success": rate.mean,
        "low": rate.low,
        "high": rate.high,
        "seeds": len(row.evaluations),
        "episodes": len(first.seed),
        "difference_to_bc": asdict(paired_difference(row.success(), baseline.success()))
        if baseline
        else None,
        "success_by_seed": [float(evaluation.success().mean()) for evaluation in row.evaluations],
        "horizons": {str(steps): asdict(success_rate(row.success(steps))) for steps in horizons},
        "median_length": row.median_length,
    }


def _publish(rows: Sequence[Row], config: RunConfig, arguments: Sequence[str]) -> None:
    """Print and write the table; the last line printed is JSON."""
    found = [_numbers(row, rows) for row in rows]
    base = [
        {"task": row.choice("task"), **asdict(success_rate(np.stack([one.success() for one in row.before])))}
        for row in rows
        if row.before
    ]
    base = [entry for number, entry in enumerate(base) if entry not in base[:number]]
    text = _table(found)
    for entry in base:
        text += f"\n\nBefore, on {entry['task']}: {percent(entry)}."
    name = config.name or digest([canonical(row.config) for row in rows])[:8]
    folder = Path(config.outputs) / "compare" / name
    folder.mkdir(parents=True, exist_ok=True)
    line = f"python -m experiments.compare {' '.join(arguments)}".strip()
    head = f"# Comparison\n\n`{line}`\n\n{_caption(rows)}"
    results = {"command": line, "rows": found, "base": base}
    intervals = {
        f"{f['method']} ({f['critic']}, {f['task']})": Interval(f["success"], f["low"], f["high"])
        for f in found
    }
    draw_comparison(intervals, folder / "success.png")
    for file, content in {
        "results.json": json.dumps(results, indent=1),
        "table.md": f"{head}\n\n{text}\n",
    }.items():
        with atomic_file(folder / file) as temporary:
            temporary.write_text(content)
    print(text)
    print(f"\nwritten to {folder}")
    print(json.dumps({"rows": found}))


def _caption(rows: Sequence[Row]) -> str:
    config, first = rows[0].config, rows[0].evaluations[0]
    return (
        f"Success within {first.horizon} control steps, mean and 95 % interval over "
        f"{len(rows[0].evaluations)} seeds × {len(first.seed)} episodes; {config.train.updates} updates, "
        "from the same start. Difference to behaviour cloning: paired over seeds and episodes."
    )


def _table(found: Sequence[dict[str, Any]]) -> str:
    cells = []
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
                _points(difference) if difference else "–",
                " / ".join(shorter),
                "–" if row["median_length"] is None else f"{row['median_length']:.0f}",
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
    ]
    return table(head, cells)


def _points(difference: dict[str, float]) -> str:
    low, high = 100 * difference["low"], 100 * difference["high"]
    return f"{100 * difference['mean']:+.0f} [{low:+.0f}, {high:+.0f}]"


@command
def main() -> None:
    """The command line."""
    answer(lambda arguments: compare(configurations("run", arguments), arguments), __doc__)


if __name__ == "__main__":
    main()
