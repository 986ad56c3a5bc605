"""All runs so far, in one table, newest last.

    python -m experiments.report [outputs=outputs] [name=<part of the runs' names>]

Each run's own report lies in outputs/runs/<name>/report.md. The last line printed is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.errors import UserError
from experiments.reports.run_report import percent, table
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command


@dataclass(frozen=True)
class ReportConfig:
    """What to list."""

    outputs: str = "outputs"
    name: str = ""  # only runs whose name contains this


def print_overview(arguments: Sequence[str]) -> None:
    """Print a row for every run.

    Raises:
        UserError: there is no run, or a run's results are damaged.
    """
    store_command("report", ReportConfig)
    config: ReportConfig = prepare_one("report", arguments).config
    folder = Path(config.outputs) / "runs"
    files = sorted(folder.glob(f"*{config.name}*/results.json"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise UserError(f"no run in {folder}; make one: python -m experiments.run")
    found = [_read(file) for file in files]
    rows = [
        [
            *(run["choices"][group] for group in ("task", "method", "policy", "critic")),
            run["settings"]["seed"],
            percent(run["before"]["success"]) if run["before"] else "–",
            percent(run["after"]["success"]) if run["after"] else "not measured",
            file.parent / "report.md",
        ]
        for run, file in zip(found, files, strict=True)
    ]
    print(table(["task", "method", "policy", "critic", "seed", "before", "after", "report"], rows))
    keys = ("name", "choices", "before", "after", "seconds")
    print(json.dumps({"runs": [{key: run[key] for key in keys} for run in found]}))


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{file} is damaged ({error}); delete its folder and repeat the run") from error


@command
def main() -> None:
    """The command line."""
    answer(print_overview, __doc__)


if __name__ == "__main__":
    main()
