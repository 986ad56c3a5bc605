"""What `experiments.chaos` found: a table of kills, and what a row of runs left behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from envs.files import atomic_file
from experiments.lab.chaos import REPORT, Killed
from experiments.lab.provenance import made_by
from experiments.lab.soak import SETTLED, Soak
from experiments.reports.run_report import table

GROWTH = 0.05  # of memory, over a row of runs
HEADS = ("run", "stage", "seconds undisturbed", "kills", "whole runs", "differences")


@dataclass
class Findings:
    """Of the runs that were disturbed, by their names, and of the row of runs; None: there was none."""

    runs: dict[str, Killed] = field(default_factory=dict)
    row: Soak | None = None

    @property
    def different(self) -> list[str]:
        """All that was not the same in a run that had been killed."""
        return sorted({name for killed in self.runs.values() for name in killed.different})

    @property
    def left(self) -> list[str]:
        """Processes and segments that outlived a run."""
        return sorted({name for names in self.row.left.values() for name in names}) if self.row else []

    @property
    def fine(self) -> bool:
        """Whether nothing differs, is left behind, or grows."""
        return not self.different and not self.left and (self.row is None or self.row.growth <= GROWTH)

    def summary(self) -> dict[str, Any]:
        """The last line of the command."""
        return {
            "kills": sum(sum(killed.kills.values()) for killed in self.runs.values()),
            "rounds": sum(killed.rounds for killed in self.runs.values()),
            "different": self.different,
            "growth": None if self.row is None else self.row.growth,
            "left": self.left,
        }


def write_findings(folder: Path, found: Findings, arguments: Sequence[str]) -> None:
    """report.md and results.json."""
    told = {"arguments": list(arguments), **asdict(found), "made_by": made_by()}
    texts = {"report.md": findings_text(found, arguments), "results.json": json.dumps(told, indent=1) + "\n"}
    for name, text in texts.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_text(text)


def findings_text(found: Findings, arguments: Sequence[str]) -> str:
    """The report."""
    rows = [
        [
            name,
            stage,
            f"{killed.seconds[stage]:.1f}",
            str(count),
            str(killed.rounds),
            "; ".join(sorted(set(killed.different))) or "none",
        ]
        for name, killed in found.runs.items()
        for stage, count in killed.kills.items()
    ]
    command = " ".join(["python -m experiments.chaos", *arguments])
    killed = f"""# Killed at random moments

`{command}`; `{REPORT}`: after the last artifact, while the report is written.

{table(list(HEADS), rows)}
"""
    return killed if found.row is None else f"{killed}\n{_row_text(found.row)}"


def _row_text(row: Soak) -> str:
    ends = [[how, "; ".join(names) or "nothing"] for how, names in row.left.items()]
    settled, last = (row.memory[place] / 2**20 for place in (min(SETTLED, len(row.memory)) - 1, -1))
    return f"""## {len(row.memory)} runs in a row

Memory of the process after run {SETTLED} {settled:.0f} MB, after the last {last:.0f} MB ({row.growth:+.1%}).

{table(["ended", "left behind"], ends)}
"""
