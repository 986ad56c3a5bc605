"""All runs so far, in one table, newest last.

    python -m experiments.report [outputs=outputs] [name=<part of the runs' names>]

Each run's own report lies in outputs/runs/<name>/report.md. The last line printed is JSON.
"""

from __future__ import annotations

from experiments.command import command


@command
def main() -> None:
    """The command line."""
    from experiments.cli import answer
    from experiments.overview import print_overview

    answer(print_overview, __doc__)


if __name__ == "__main__":
    main()
