"""Methods against each other: same data, labels, base policy and number of updates.

    python -m experiments.compare method=bc,filtered_bc,awr seed=0,1,2
    python -m experiments.compare method=bc,awr critic=wvm,oracle task=stack,bread evaluate.episodes=100

Every setting may be a comma-separated list. Prints a table; the last line is JSON. Both, and a picture, are
also written to outputs/compare/<name>/.
"""

from __future__ import annotations

from experiments.command import command


@command
def main() -> None:
    """The command line. Imports are here: simulator processes import this file too."""
    from experiments.cli import answer, configurations
    from experiments.comparing import compare

    answer(lambda arguments: compare(configurations("run", arguments), arguments), __doc__)


if __name__ == "__main__":
    main()
