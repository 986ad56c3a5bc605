"""Pretrain the base VLA on mixed-quality demonstrations of all tasks, and write it with its model card.

    python -m experiments.pretrain_vla [folder=policy_extraction/base_vla] [train.updates=…] [check.episodes=…]

Its seeds are its own: no episode of an experiment's data or evaluation is among them. A killed run is
continued by the same command.
"""

from __future__ import annotations

from experiments.command import command


@command
def main() -> None:
    """The command line. Imports are here: simulator processes import this file too."""
    from experiments.cli import answer
    from experiments.pretraining import pretrain_base

    answer(pretrain_base, __doc__)


if __name__ == "__main__":
    main()
