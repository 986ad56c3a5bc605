"""What hands do besides the task: hesitate, take a detour, linger when done, idle after giving up."""

from __future__ import annotations

import numpy as np

from envs.experts.arm import Arm
from envs.experts.plan import Hesitation, Plan, Waypoint
from envs.types import Segment

UP = np.array([0.0, 0.0, 1.0])
WANDER_CORRELATION = 0.85
RETREAT = 0.1  # metres
SETTING_OFF = 3  # frames before a hesitation at the start
LINGER_LIMIT = 40  # frames to wait at most for the state to become solved


def pause(arm: Arm, plan: Plan, where: Waypoint, gripper: float) -> bool:
    """Hesitate if this is where the plan says so; whether it was."""
    if plan.hesitation is None or plan.hesitation.where != where:
        return False
    start = len(arm)
    if plan.hesitation.still:
        arm.still(plan.hesitation.steps, gripper)
    else:
        _wander(arm, plan.hesitation, gripper)
    arm.recorder.segments.append(Segment("hesitation", start, len(arm) - 1))
    return True


def _wander(arm: Arm, hesitation: Hesitation, gripper: float) -> None:
    anchor, limit = arm.position, 2 * hesitation.reach
    spread = hesitation.reach * np.sqrt(1 - WANDER_CORRELATION**2)
    offset = np.zeros(3)
    for _ in range(hesitation.steps):
        offset = WANDER_CORRELATION * offset + spread * arm.rng.standard_normal(3)
        arm.act(arm.towards(anchor + np.clip(offset, -limit, limit), arm.goal_rotation), gripper)


def set_off(arm: Arm, plan: Plan, destination: np.ndarray, rotation: np.ndarray, gripper: float) -> None:
    """The beginning of the way to a destination: with the plan's hesitation at the start, and its detour."""
    if plan.hesitation is not None and plan.hesitation.where == "start":
        arm.reach(destination, rotation, gripper, 0.012, SETTING_OFF)
        pause(arm, plan, "start", gripper)
    if plan.detour is not None and plan.detour.leg == "approach":
        detour(arm, plan.detour.sideways, destination, rotation, gripper)


def detour(arm: Arm, sideways: float, destination: np.ndarray, rotation: np.ndarray, gripper: float) -> None:
    """Go to a point beside the middle of the way to `destination` (metres, signed), for 25 frames at most."""
    way = destination - arm.position
    across = np.array([-way[1], way[0], 0.0])
    across /= max(float(np.linalg.norm(across)), 1e-6)
    corner = arm.position + way / 2 + sideways * across
    corner[2] = max(corner[2], min(arm.position[2], destination[2]))
    arm.reach(corner, rotation, gripper, 0.02, 25, turn_tolerance=np.inf)


def linger(arm: Arm, gripper: float, frames: int, direction: np.ndarray = UP) -> None:
    """Draw back along a direction until the state has been solved for some frames, or a while has passed."""
    goal = arm.position + RETREAT * direction
    solved = 0
    for _ in range(LINGER_LIMIT):
        arm.hold(1, gripper, goal)
        solved += arm.recorder.solved
        if solved >= frames:
            return


def idle(arm: Arm, gripper: float, length: int, direction: np.ndarray = UP) -> None:
    """Draw back along a direction and do nothing until the episode has `length` frames (at least 15 more)."""
    arm.hold(max(15, length - len(arm)), gripper, arm.position + RETREAT * direction)
