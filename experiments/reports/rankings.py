"""A table of how critics rank branches from one state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.reports.hypertext import table
from experiments.stages.ranking import BranchSettings, Rankings, ranking_rows

TRUTH = "true progress, as other demonstrations tell it"


def rankings_table(
    columns: Sequence[str],
    found: Mapping[tuple[str, ...], Rankings],
    of: str,
    settings: BranchSettings,
) -> str:
    """A line that says what is shown, and a row for each of `found` and each phase.

    Args:
        columns: what its keys are; of: whose states.
    """
    rows = [[*names, *row] for names, rankings in found.items() for row in ranking_rows(rankings)]
    head = [*columns, "from", "groups", *(f"{count + 1}" for count in range(settings.decisions))]
    return (
        f"{settings.groups} states of {of} × {settings.group_size} branches: mean correlation, within groups, of the "
        f"critic's gain with that of true progress, by the number of decisions of {settings.execute} control steps\n\n"
        + table(head, rows)
    )
