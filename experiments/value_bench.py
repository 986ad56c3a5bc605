"""How good a critic's values are on trajectories with exact true values: Suboptimal-Value-Bench, rebuilt in simulation.

    python -m experiments.value_bench critic=wvm                      the critic that ships
    python -m experiments.value_bench critic=wvm critic.path=/a/folder   one that you trained
    python -m experiments.value_bench critic=wvm,time_index           several, beside one another
    python -m experiments.value_bench critic=my_module:fn             yours: (frames, instruction) -> values
    python -m experiments.value_bench critic=… measure.subset=robosuite data.path=/a/benchmark/folder
    python -m experiments.value_bench generate [folder=/where/to]     makes the data set, and nothing else

The data set is made from its seeds on its first use (half an hour on two cores) and kept under outputs. Prints a table;
a report is written to outputs/value_bench/<name>/; the last line is JSON.
"""

from __future__ import annotations

from experiments.command import command


@command
def main() -> None:
    """The command line. Imports are here: simulator processes import this file too."""
    from experiments.cli import answer
    from experiments.value_benching import run_value_bench

    answer(run_value_bench, __doc__)


if __name__ == "__main__":
    main()
