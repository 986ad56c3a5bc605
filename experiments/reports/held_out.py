"""What was found on held-out episodes, as plain numbers and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lab.statistics import mean_interval
from experiments.reports.figures import draw_foretold
from experiments.reports.hypertext import table
from experiments.stages.held_out import Foretold

LOSS, ERROR, USUAL = "loss", "action error", "of the usual action"  # of `HeldOut.measures`


def held_out_results(found: Foretold) -> dict[str, Any]:
    """Episodes, chunks, and for all and for good chunks each measure before, after, and its change, as means over
    episodes with 95 % intervals (None where fewer than two have such chunks); errors in the data's units by action.
    """
    before, after = found.before, found.after
    errors = [side.mean(axis=0).tolist() for side in (before.error, after.error, after.usual)]
    return {
        "episodes": list(found.numbers),
        "chunks": {part: int(chosen.sum()) for part, chosen in _parts(found).items()},
        "unknown": int(np.isnan(after.advantage).sum()),
        "measures": {part: _measures(found, chosen) for part, chosen in _parts(found).items()},
        "by_action": [
            {"name": name, "before": b, "after": a, "usual": u}
            for name, b, a, u in zip(found.names, *errors, strict=True)
        ],
    }


def _parts(found: Foretold) -> dict[str, np.ndarray]:
    """{which chunks: bool [N]}."""
    return {"all": np.ones(len(found.after.episode), bool), "good": found.after.good}


def _sides(found: Foretold, rows: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A measure by episode before and after, of some rows."""
    before, after = found.before, found.after
    return before.by_episode(before.measures()[name], rows), after.by_episode(after.measures()[name], rows)


def _measures(found: Foretold, rows: np.ndarray) -> dict[str, Any]:
    measures: dict[str, Any] = {}
    for name in (LOSS, ERROR):
        before, after = _sides(found, rows, name)
        ends = {"before": before, "after": after, "change": after - before}
        measures[name] = {key: _interval(values) for key, values in ends.items()}
    measures[USUAL] = _interval(_sides(found, rows, USUAL)[1])
    return measures


def draw_held_out(found: Foretold, path: Path) -> None:
    """A picture of the action error of every held-out episode."""
    panels = {}
    for part, rows in _parts(found).items():
        before, after = _sides(found, rows, ERROR)
        panels[part] = {"before": before, "after": after, "usual": _sides(found, rows, USUAL)[1]}
    draw_foretold(panels, [str(number) for number in found.numbers], path)


def held_out_headline(found: Mapping[str, Any]) -> str:
    """The action error, in a sentence."""
    error = found["measures"]["all"][ERROR]
    return (
        f"Error of an action on {len(found['episodes'])} held-out episodes: {_percent(error['after'])} of the actions' "
        f"range, before {_percent(error['before'])}."
    )


def held_out_text(found: Mapping[str, Any]) -> list[str]:
    """Paragraphs and tables of a report, in Markdown."""
    chunks, unknown = found["chunks"], found["unknown"]
    parts = [
        f"{chunks['all']} action chunks of {len(found['episodes'])} episodes that nothing was trained on; means over "
        f"episodes with 95 % intervals (Student). Good chunks ({chunks['good']}) are those whose advantage is not below the "
        f"median of these{f'; of {unknown} it is unknown' if unknown else ''}. Loss is the policy's own, minus its "
        "log_prob, of the weights in training; the action error is of one draw of the weights that act, a share of the "
        "range from the 1 % to the 99 % quantile of each number of the training data, a mean over those that change. "
        "Neither is success: a policy that copies every pause has a small error.",
    ]
    rows = []
    for part, measures in found["measures"].items():
        for name, show in ((LOSS, _plain), (ERROR, _percent)):
            one = measures[name]
            rows.append(
                [f"{name}, {part} chunks", *(show(one[key]) for key in ("before", "after", "change"))]
            )
        usual = _percent(measures[USUAL])
        rows.append([f"action error of the training data's median action, {part} chunks", usual, usual, ""])
    parts.append(table(["", "before", "after", "change"], rows))
    actions = [
        [one["name"], *(f"{one[key]:.4g}" for key in ("before", "after", "usual"))]
        for one in found["by_action"]
    ]
    parts.append("Mean errors of each number of an action, in the data's own units:")
    parts.append(table(["action", "before", "after", "of the median action"], actions))
    return parts


def _interval(values: np.ndarray) -> dict[str, float] | None:
    found = mean_interval(values[~np.isnan(values)])
    return asdict(found) if found else None


def _plain(found: Mapping[str, float] | None) -> str:
    return "unknown" if found is None else f"{found['mean']:.4g} [{found['low']:.4g}, {found['high']:.4g}]"


def _percent(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "unknown"
    return f"{100 * found['mean']:.1f} % [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"
