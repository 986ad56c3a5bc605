"""What hands do besides the task: hesitate, take a detour, linger when done, idle after giving up."""

from __future__ import annotations

import numpy as np

from envs.experts.arm import Arm
from envs.experts.plan import Hesitation
from envs.types import Segment

WANDER_CORRELATION = 0.85
RETREAT = np.array([0.0, 0.0, 0.1])
LINGER_LIMIT = 40  # frames to wait at most for the state to become solved


def hesitate(arm: Arm, hesitation: Hesitation, gripper: float) -> None:
    """Stand still, or wander around the spot, and record the segment: its frames are exactly those spent so."""
    start = len(arm)
    if hesitation.still:
        arm.still(hesitation.steps, gripper)
    else:
        _wander(arm, hesitation, gripper)
    arm.segments.append(Segment("hesitation", start, len(arm) - 1))


def _wander(arm: Arm, hesitation: Hesitation, gripper: float) -> None:
    anchor, yaw = arm.position, arm.yaw
    spread = hesitation.reach * np.sqrt(1 - WANDER_CORRELATION**2)
    offset = np.zeros(3)
    for _ in range(hesitation.steps):
        offset = WANDER_CORRELATION * offset + spread * arm.rng.standard_normal(3)
        arm.act(
            arm.towards(anchor + np.clip(offset, -2 * hesitation.reach, 2 * hesitation.reach), yaw), gripper
        )


def detour(arm: Arm, sideways: float, destination: np.ndarray, yaw: float, gripper: float) -> None:
    """Go to a point beside the middle of the way to `destination` (metres, signed), for 25 frames at most."""
    way = destination - arm.position
    across = np.array([-way[1], way[0], 0.0])
    across /= max(float(np.linalg.norm(across)), 1e-6)
    corner = arm.position + way / 2 + sideways * across
    corner[2] = max(corner[2], min(arm.position[2], destination[2]))
    arm.reach(corner, yaw, gripper, 0.02, 25, turn_tolerance=np.inf)


def linger(arm: Arm, gripper: float, frames: int) -> None:
    """Draw back until the state has been solved for a number of frames; give up where it does not get solved."""
    goal, yaw = arm.position + RETREAT, arm.yaw
    solved = 0
    for _ in range(LINGER_LIMIT):
        arm.act(arm.towards(goal, yaw), gripper)
        solved += arm.solved
        if solved >= frames:
            return


def idle(arm: Arm, gripper: float, length: int) -> None:
    """Draw back, then do nothing until the episode has `length` frames (at least 15 more)."""
    goal = arm.position + RETREAT
    arm.hold(max(15, length - len(arm)), gripper, goal)
