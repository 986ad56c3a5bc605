"""Open a door: reach for its handle with a slanting hand, grip, press the handle down, pull the door."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.experts.arm import CLOSE, OPEN, Arm
from envs.experts.habits import UP, idle, linger, pause, set_off
from envs.experts.plan import Failure, Miss, Plan
from envs.experts.rotations import about, about_vertical, pointing, wrap
from envs.types import Segment

GRIP = np.array([0.1, -0.1, 0.0])  # where to hold the handle, in the frame of its latch, metres
BEFORE = 0.09  # how far in front of the handle the hand gets ready, metres
SLANT = 0.45  # radians by which the hand points down: UR5e's wrist is singular when it is horizontal
LATCH_OPEN = 1.4  # radians of the handle at which the door is free
PRESS_LEAD, PULL_LEAD = 0.35, 0.2  # radians by which the hand runs ahead of the handle and of the door
PRESS_STEPS, PULL_STEPS = 60, 60
CLOSE_STEPS, OPEN_STEPS = 8, 6
MISS_HEIGHT = 0.05  # of a missed grasp above the handle, metres
NOMINAL = 120  # usual frames of a clean episode


def open_door(arm: Arm, simulation: Any, plan: Plan) -> None:
    """Carry out the plan on robosuite's door.

    The segment of a retry runs from the first frame in which the hand closes on nothing to the last frame of
    its way back in front of the handle.
    """
    hand = _Hand(arm, simulation, plan)
    if plan.failure is not None:
        hand.fail(plan.failure)
        idle(arm, OPEN, round(plan.length * NOMINAL), hand.outward())
        return
    hand.approach()
    if plan.miss is not None:
        hand.miss(plan.miss)
    hand.grasp()
    hand.press(LATCH_OPEN)
    pause(arm, plan, "lifted", CLOSE)
    hand.pull()
    linger(arm, OPEN, plan.linger, hand.outward())


class _Hand:
    """The steps of opening a door; `rotation` is how the hand is turned to grip the handle."""

    def __init__(self, arm: Arm, simulation: Any, plan: Plan):
        self.arm, self.plan, self.data = arm, plan, simulation.sim.data
        self.door = simulation.door
        self.latch = simulation.object_body_ids["latch"]
        self.hinge_angle, self.latch_angle = simulation.hinge_qpos_addr, simulation.handle_qpos_addr
        self.hinge = simulation.sim.model.joint_name2id(simulation.door.joints[0])
        outward = self.outward()
        yaw = wrap(float(np.arctan2(outward[1], outward[0])) - arm.finger_angle, np.pi)
        approach = -np.cos(SLANT) * outward - np.sin(SLANT) * UP
        self.rotation = pointing(about_vertical(yaw) @ arm.level, approach)

    def latch_rotation(self) -> np.ndarray:
        return np.array(self.data.body_xmat[self.latch]).reshape(3, 3)

    def outward(self) -> np.ndarray:
        """The direction from the door towards the robot."""
        return -self.latch_rotation()[:, 1]

    def grip_point(self) -> np.ndarray:
        return np.array(self.data.body_xpos[self.latch]) + self.latch_rotation() @ GRIP

    def ready_point(self) -> np.ndarray:
        return self.grip_point() - BEFORE * self.rotation[:, 2]

    def approach(self) -> None:
        set_off(self.arm, self.plan, self.ready_point(), self.rotation, OPEN)
        self.arm.reach(self.ready_point, self.rotation, OPEN, 0.008, turn_tolerance=0.08)
        pause(self.arm, self.plan, "hover", OPEN)

    def miss(self, miss: Miss) -> None:
        sideways, _ = miss.offset
        beside = np.array([sideways, 0.0, MISS_HEIGHT]) + 0.5 * BEFORE * self.outward()
        self.arm.reach(self.grip_point() + beside, self.rotation, OPEN, 0.012, 30)
        start = len(self.arm)
        self.arm.hold(miss.close_steps, CLOSE)
        self.arm.reach(self.ready_point() + miss.retreat * self.outward(), self.rotation, OPEN, 0.015, 30)
        self.arm.recorder.segments.append(Segment("retry", start, len(self.arm) - 1))

    def grasp(self) -> None:
        self.arm.reach(self.grip_point, self.rotation, OPEN, 0.01, 30)
        if pause(self.arm, self.plan, "grasp", OPEN):
            self.arm.reach(self.grip_point, self.rotation, OPEN, 0.01, 30)
        self.arm.close(CLOSE_STEPS)

    def press(self, angle: float) -> None:
        """Turn the handle down to an angle, the hand turning with it."""
        for _ in range(self.arm.patience(PRESS_STEPS)):
            turned = self.data.qpos[self.latch_angle]
            if turned > angle:
                return
            rotation = about(self.latch_rotation()[:, 1], turned + PRESS_LEAD) @ self.rotation
            self.arm.act(self.arm.towards(self.ahead(), rotation), CLOSE)

    def ahead(self) -> np.ndarray:
        """The grip point of a handle turned `PRESS_LEAD` further."""
        pivot = np.array(self.data.body_xpos[self.latch])
        return pivot + about(self.latch_rotation()[:, 1], PRESS_LEAD) @ (self.grip_point() - pivot)

    def pull(self) -> None:
        """Swing the door open, keeping the handle down."""
        hinge = np.array(self.data.xanchor[self.hinge])
        pressed = self.arm.rotation
        for _ in range(self.arm.patience(PULL_STEPS)):
            if self.arm.recorder.solved:
                return
            target = hinge + about_vertical(PULL_LEAD) @ (self.ahead() - hinge)
            self.arm.goal_rotation = about_vertical(float(self.data.qpos[self.hinge_angle])) @ pressed
            self.arm.act(self.arm.towards(target, self.arm.goal_rotation), CLOSE)

    def fail(self, failure: Failure) -> None:
        self.approach()
        if failure.mistake == "give_up":
            near, far = self.grip_point(), self.ready_point()
            self.arm.reach(near + max(0.5, failure.fraction) * (far - near), self.rotation, OPEN, 0.015, 20)
        elif failure.mistake == "drop":
            self.grasp()
            self.press(failure.fraction)
            self.arm.open(OPEN_STEPS)
        else:
            above = np.array([0.0, 0.0, failure.distance]) + 0.5 * BEFORE * self.outward()
            self.arm.reach(self.grip_point() + above, self.rotation, OPEN, 0.015, 30)
            self.arm.close(CLOSE_STEPS)
