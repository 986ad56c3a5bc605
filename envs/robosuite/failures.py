"""What became of an attempt that did not solve its task, told from the simulator's state."""

from __future__ import annotations

import numpy as np

MOVED = 0.01  # metres from where the object lay
RAISED = 0.02  # metres above it: nothing that is pushed over gets there
FAILURES = ("untouched", "moved", "dropped", "underway")


def failure_of(state: np.ndarray) -> str:
    """One of `FAILURES`, from the `environment_state`s [D, 8] of an unsolved attempt, in order.

    untouched: the task's object never moved; moved: it did, but never came off what it lay on (what cannot be lifted, such
    as a door's handle, does not); dropped: it was lifted, and lies again; underway: it is in the air still, or rests on
    something higher than before.

    The first state is left out where there are others: objects are dropped a little at a reset.
    """
    thing = state[min(1, len(state) - 1) :, :3]
    height = thing[:, 2] - thing[0, 2]
    if height.max() >= RAISED:
        return "underway" if height[-1] >= RAISED else "dropped"
    return "moved" if np.linalg.norm(thing - thing[0], axis=1).max() >= MOVED else "untouched"
