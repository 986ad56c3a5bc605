"""The value benchmark's tables: on the terminal and in the report."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.reports.run_report import table

Figures = Mapping[str, Any]  # of a group: {name, name_ci, name_undefined, name_count}


@dataclass(frozen=True)
class Row:
    """A metric: what a perfect critic scores, and what is published for WVM (RoboSuite column)."""

    name: str
    title: str
    perfect: str
    published: str = ""
    meaning: str = ""


ROWS = (
    Row(
        "expert_voc",
        "Expert-VOC",
        "1",
        ".99",
        "rank correlation of value and time over undisturbed successes",
    ),
    Row(
        "hesitation_rmse", "Hesitation-RMSE", "0", ".04", "error of the value over the frames of a hesitation"
    ),
    Row("retry_voc", "Retry-VOC", "1", ".75", "rank correlation with the true curve where that falls"),
    Row(
        "static_voc",
        "control: static video, abs. VOC",
        "0",
        "",
        "first frame repeated; a constant value counts as 0",
    ),
    Row(
        "static_constant",
        "control: static video, constant",
        "1",
        "",
        "share of static videos with a constant value",
    ),
    Row(
        "static_drift",
        "control: static video, drift",
        "0",
        "",
        "last less first value of a static video, absolute",
    ),
    Row(
        "vroc",
        "control: reversed video, VOC",
        "−1",
        "",
        "rank correlation of value and time, played backwards",
    ),
    Row(
        "instruction_margin",
        "control: instruction margin",
        "1",
        "",
        "final value under the true instruction less the mean over the other tasks' instructions",
    ),
    Row(
        "instruction_top1",
        "control: true instruction first",
        "1",
        "",
        "share of videos whose final value is highest under the true instruction, ties not counted",
    ),
    Row(
        "length_correlation",
        "control: score and length",
        "",
        "",
        "rank correlation of score (final value × VOC) and episode length within a task and robot",
    ),
    Row(
        "length_correlation_expert", "control: the same, experts", "0", "", "over undisturbed successes alone"
    ),
    Row("kendall_tau", "Kendall τ of score", "1", "", "failure < suboptimal < success, by final value × VOC"),
    Row("kendall_tau_final", "Kendall τ of final value", "2/3", "", "the same, by the final value alone"),
    Row("auroc", "success AUROC", "1", "", "that the final value of a success is above that of a failure"),
    Row(
        "drop_pr_auc",
        "drop detection, PR-AUC",
        "1",
        "",
        "windows in which the true value falls, by the value's fall",
    ),
    Row("drop_share", "drop detection, chance", "", "", "share of windows in which the true value falls"),
    Row("success_value", "final value of successes", "1", "", "mean"),
    Row("failure_value", "final value of failures", "", "", "mean"),
    Row("missing", "trajectories without values", "0", "", "share for which the critic gave NaN"),
)
SHORT = (
    "expert_voc",
    "hesitation_rmse",
    "retry_voc",
    "static_voc",
    "static_drift",
    "vroc",
    "auroc",
    "drop_pr_auc",
)


def metrics_table(columns: Mapping[str, Figures], intervals: Collection[str]) -> str:
    """Metrics as rows; the columns are groups or critics, the last two say of how many trajectories the first is.

    Args:
        intervals: the columns that are shown with their intervals.
    """
    first = next(iter(columns.values()))
    known = [row for row in ROWS if any(row.name in figures for figures in columns.values())]
    body = [
        [
            row.title,
            row.perfect,
            row.published,
            *(figure(figures, row.name, name in intervals) for name, figures in columns.items()),
            _share(first, row.name),
            str(first.get(f"{row.name}_count", "")),
        ]
        for row in known
    ]
    return _aligned(["metric", "perfect", "WVM, published", *columns, "undefined", "of"], body)


def parts_table(head: str, parts: Mapping[str, Figures]) -> str:
    """One row for each task, robot or combination."""
    titles = {row.name: row.title.removeprefix("control: ") for row in ROWS}
    body = [[name, *(figure(figures, metric) for metric in SHORT)] for name, figures in parts.items()]
    return _aligned([head, *(titles[metric] for metric in SHORT)], body)


def figure(figures: Figures, name: str, interval: bool = True) -> str:
    """`0.043 [0.039, 0.047]`; – where it is undefined or was not measured."""
    if figures.get(name) is None:
        return "–"
    low, high = figures[f"{name}_ci"]
    ends = f" [{low:.3f}, {high:.3f}]" if interval and low is not None else ""
    return f"{figures[name]:.3f}{ends}"


def _aligned(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns stand below one another."""
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, *body)]
    return table(padded[0], padded[1:])


def _share(figures: Figures, name: str) -> str:
    return f"{100 * figures[f'{name}_undefined']:.0f} %" if f"{name}_undefined" in figures else ""


def markdown(title: str, caption: Sequence[str], summary: Mapping[str, Any], reference: Figures) -> str:
    """The report on one critic.

    Args:
        summary: of `value_bench_scores.Scores`; reference: the time index on the headline's group.
    """
    meanings = "\n".join(f"- {row.title}: {row.meaning}." for row in ROWS)
    columns = group_columns(summary, reference)
    parts = [f"# {title}", *caption, metrics_table(columns, columns)]
    for head, of in (("robot", "robots"), ("task", "tasks"), ("combination", "combinations")):
        parts += [f"## By {head}", parts_table(head, summary[of])]
    parts += ["## What is what", meanings]
    return "\n\n".join(parts) + "\n"


def group_columns(summary: Mapping[str, Any], reference: Figures) -> dict[str, Figures]:
    """The headline's group, the others, and the time index on the headline's."""
    names = [summary["subset"], *(name for name in summary["groups"] if name != summary["subset"])]
    columns = {name: summary["groups"][name] for name in names}
    return columns | {f"time index, {summary['subset']}": reference}


def headline(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured and the figures of the headline's group, in the order of the table, without the parts."""
    suffixes = ("", "_ci", "_undefined", "_count")
    metrics = [
        f"{row.name}{suffix}" for row in ROWS for suffix in suffixes if f"{row.name}{suffix}" in summary
    ]
    facts = {name: of for name, of in summary.items() if name not in metrics and not isinstance(of, Mapping)}
    return facts | {name: summary[name] for name in metrics}
