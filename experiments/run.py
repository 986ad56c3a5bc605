"""Extract a better policy from mixed data and say how much better it is.

    python -m experiments.run method=awr task=stack policy=vla critic=wvm seed=3 method.temperature=5
    python -m experiments.run -m method=bc,awr seed=0,1       a sweep
    python -m experiments.run --cfg job                       all settings
    python -m experiments.run method=my_file:MyMethod         a part of your own

Prints a summary, and writes a report under outputs/runs/<name>/. Finished stages are reused; a killed run is
continued by the same command.
"""

from __future__ import annotations

from experiments.command import command


@command
def main() -> None:
    """The command line. Imports are here: simulator processes import this file too."""
    from experiments.cli import hydra_command
    from experiments.running import run

    hydra_command("run", run)


if __name__ == "__main__":
    main()
