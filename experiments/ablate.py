"""The value model's ablations: every variant at equal budget, on the same latents, with several seeds.

    python -m experiments.ablate [seeds=[0,1,2]] [updates=1500] [variants=[full,hl_gauss]]

Prints a table beside the published figures and writes it to outputs/ablate/. Finished trainings are kept: a killed
command is continued by the same command. The last line is JSON.
"""

from __future__ import annotations

from experiments.command import command


@command
def main() -> None:
    """The command line. Imports are here: simulator processes import this file too."""
    from experiments.ablating import ablate
    from experiments.cli import answer

    answer(ablate, __doc__)


if __name__ == "__main__":
    main()
