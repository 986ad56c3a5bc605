"""What things cost.

    python -m experiments.bench rollout [task=stack robot=Panda image_size=64 steps=100]
    python -m experiments.bench methods [updates=200 batch_size=256]
    python -m experiments.bench label [preset=tiny groups=3]
    python -m experiments.bench train_critic [preset=tiny dispatches=5]
    python -m experiments.bench resources [preset=wan2_2_ti2v_5b mfu=0.4 most=64]

rollout: frames a second of stock robosuite and of ours, same task, camera and actions, in one process.
methods: what every method adds to an update of behaviour cloning.
label, train_critic: frames and clips a second of the value model, its operations, and their share of the rate of plain
matrix products on this machine.
resources: parameters, operations, memory and time that training a preset needs, computed from its shapes.
The last line printed is JSON.
"""

from __future__ import annotations

from experiments.command import command


@command
def main() -> None:
    """The command line."""
    from experiments.benching import run_bench
    from experiments.cli import answer

    answer(run_bench, __doc__)


if __name__ == "__main__":
    main()
