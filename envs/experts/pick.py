"""Pick an object up and put it where it belongs: hover, descend, close, lift, carry, lower, open, retreat."""

from __future__ import annotations

import numpy as np

from envs.experts.arm import CLOSE, OPEN, Arm
from envs.experts.habits import UP, detour, idle, linger, pause, set_off
from envs.experts.plan import Failure, Miss, Plan
from envs.experts.rotations import about_vertical, wrap
from envs.experts.scene import Scene
from envs.types import Segment

HOVER = 0.06  # metres above the object's top
MISS_HEIGHT = 0.025  # of a missed grasp, metres above the object's top
WRIST_RANGE = 2.0  # radians that the hand may turn away from where it starts
CLOSE_STEPS, OPEN_STEPS = 8, 6


def pick_and_place(arm: Arm, scene: Scene, plan: Plan) -> None:
    """Carry out the plan on a pick-and-place task.

    The segment of a retry runs from the first frame in which the hand closes on nothing to the last frame of
    its way back up above the object: the stretch that undoes the descent, which the next descent makes good.
    """
    hand = _Hand(arm, scene, plan)
    if plan.failure is not None:
        hand.fail(plan.failure)
        idle(arm, OPEN, round(plan.length * scene.nominal))
        return
    hand.approach()
    if plan.miss is not None:
        hand.miss(plan.miss)
    hand.grasp()
    if scene.goal is None:
        linger(arm, CLOSE, plan.linger)
        return
    hand.lift()
    hand.carry(scene.goal())
    hand.release(scene.goal())
    linger(arm, OPEN, plan.linger)


class _Hand:
    """The steps of a pick-and-place; `rotation` is how the next step turns the hand."""

    def __init__(self, arm: Arm, scene: Scene, plan: Plan):
        self.arm, self.scene, self.plan = arm, scene, plan
        arm.speed *= scene.pace
        self.rotation = about_vertical(scene.grip_yaw(arm.finger_angle)) @ arm.level

    def hover_point(self) -> np.ndarray:
        return self.scene.grip_point() + (self.scene.grip.top + HOVER) * UP

    def approach(self) -> None:
        set_off(self.arm, self.plan, self.hover_point(), self.rotation, OPEN)
        self.arm.reach(self.hover_point, self.rotation, OPEN, 0.012)
        pause(self.arm, self.plan, "hover", OPEN)

    def miss(self, miss: Miss) -> None:
        beside = np.array([*miss.offset, self.scene.grip.top + MISS_HEIGHT])
        self.arm.reach(lambda: self.scene.grip_point() + beside, self.rotation, OPEN, 0.01, 30)
        start = len(self.arm)
        self.arm.hold(miss.close_steps, CLOSE)
        self.arm.reach(lambda: self.hover_point() + miss.retreat * UP, self.rotation, OPEN, 0.012, 30)
        self.arm.recorder.segments.append(Segment("retry", start, len(self.arm) - 1))

    def grasp(self) -> None:
        self.arm.reach(self.scene.grip_point, self.rotation, OPEN, 0.007, 25)
        if pause(self.arm, self.plan, "grasp", OPEN):
            self.arm.reach(self.scene.grip_point, self.rotation, OPEN, 0.007, 25)
        self.arm.close(CLOSE_STEPS)

    def lift(self) -> None:
        rise = max(self.scene.carry_height - self.scene.position()[2], 0.0)
        self.arm.reach(self.arm.position + rise * UP, self.rotation, CLOSE, 0.02, 30)
        pause(self.arm, self.plan, "lifted", CLOSE)

    def in_hand(self) -> np.ndarray:
        """Where the hand is, seen from the object's origin."""
        return self.arm.position - self.scene.position()

    def place_yaw(self, goal: np.ndarray, period: float) -> float:
        """The turn of the hand at the goal that fits, in the wrist's range, with the hand nearest the base."""
        offset, now = self.in_hand(), self.arm.yaw
        fits = [wrap(now - self.scene.yaw() + k * period) for k in range(round(2 * np.pi / period))]

        def reach(yaw: float) -> float:
            hand = goal + about_vertical(yaw - now) @ offset
            return float(np.linalg.norm(hand[:2] - self.arm.base[:2]))

        return min((yaw for yaw in fits if abs(yaw) < WRIST_RANGE and abs(yaw - now) < np.pi), key=reach)

    def carry(self, goal: np.ndarray) -> None:
        above = np.array([goal[0], goal[1], self.scene.carry_height])
        if self.scene.goal_period is not None:
            self.rotation = about_vertical(self.place_yaw(goal, self.scene.goal_period)) @ self.arm.level
        if self.plan.detour is not None and self.plan.detour.leg == "carry":
            detour(self.arm, self.plan.detour.sideways, above + self.in_hand(), self.rotation, CLOSE)
        tolerance, turn_tolerance = self.scene.precision
        self.arm.reach(
            lambda: above + self.in_hand(), self.rotation, CLOSE, tolerance, turn_tolerance=turn_tolerance
        )
        pause(self.arm, self.plan, "place", CLOSE)

    def release(self, goal: np.ndarray) -> None:
        self.arm.reach(lambda: goal + self.in_hand(), self.rotation, CLOSE, 0.006, 40)
        self.arm.open(OPEN_STEPS)

    def fail(self, failure: Failure) -> None:
        self.approach()
        if failure.mistake == "give_up":
            low, high = self.scene.grip_point() + self.scene.grip.top * UP, self.hover_point()
            self.arm.reach(low + failure.fraction * (high - low), self.rotation, OPEN, 0.012, 20)
            return
        if self.scene.goal is None:
            self.fumble(failure)
            return
        self.grasp()
        self.lift()
        goal = self.scene.goal()
        if failure.mistake == "drop":
            above = np.array([goal[0], goal[1], self.scene.carry_height])
            start = self.scene.position()
            part = failure.fraction * self.scene.part_way
            self.arm.reach(start + part * (above - start) + self.in_hand(), self.rotation, CLOSE, 0.02)
            self.arm.open(OPEN_STEPS)
        else:
            astray = goal + self.scene.astray(failure.direction, failure.distance)
            self.carry(astray)
            self.release(astray)

    def fumble(self, failure: Failure) -> None:
        """Where lifting is all: let the object slip at once, or close beside it."""
        if failure.mistake == "drop":
            self.grasp()
            self.arm.reach(self.arm.position + 0.04 * failure.fraction * UP, self.rotation, CLOSE, 0.004, 5)
            self.arm.open(OPEN_STEPS)
            return
        beside = (
            0.4 * failure.distance * np.array([np.cos(failure.direction), np.sin(failure.direction), 0.0])
        )
        height = (self.scene.grip.top + MISS_HEIGHT) * UP
        self.arm.reach(self.scene.grip_point() + beside + height, self.rotation, OPEN, 0.01, 30)
        self.arm.close(CLOSE_STEPS)
