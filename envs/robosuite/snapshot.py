"""A moment of an episode, from which it can be gone on again and again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.robosuite.headless import mujoco

WHOLE = (
    mujoco.mjtState.mjSTATE_INTEGRATION
)  # with the forces and the solver's warm start, not positions alone


@dataclass(frozen=True)
class Snapshot:
    """seed: of the episode, whose reset places what has no joint; steps: control steps since; physics: float64 [P],
    MuJoCo's state; fingers: float64 [G], what the gripper was last asked for.
    """

    seed: int
    steps: int
    physics: np.ndarray
    fingers: np.ndarray


def read_physics(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """All that MuJoCo's next step follows from: float64 [P]."""
    physics = np.empty(mujoco.mj_stateSize(model, WHOLE))
    mujoco.mj_getState(model, data, physics, WHOLE)
    return physics


def write_physics(model: mujoco.MjModel, data: mujoco.MjData, physics: np.ndarray) -> None:
    """Put the simulator there, poses and contacts included."""
    mujoco.mj_setState(model, data, physics, WHOLE)
    mujoco.mj_forward(model, data)
    mujoco.mj_setState(model, data, physics, WHOLE)  # the warm start again, which the line before used up
