"""Train a critic on the whole mixture of tasks, robots and styles, and measure it on held-out episodes.

    python -m experiments.train_critic [folder=outputs/critic] [critic.model.optim.updates=…] [critic.seed=…]
    python -m experiments.train_critic critic.model.clip.marked=false       from experts alone, as published

The critic that ships was made so, with folder=value_model/tiny_critic. Collection and training resume; a killed
command is continued by the same command. The last line is JSON: the metrics.
"""

from __future__ import annotations

from experiments.command import command


@command
def main() -> None:
    """The command line. Imports are here: simulator processes import this file too."""
    from experiments.cli import answer
    from experiments.critic_training import train_critic

    answer(train_critic, __doc__)


if __name__ == "__main__":
    main()
