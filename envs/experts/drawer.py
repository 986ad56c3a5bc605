"""Open or close a drawer: come down over its handle, grip it, and pull it out or push it in."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.experts.arm import CLOSE, OPEN, Arm
from envs.experts.habits import UP, idle, linger, pause, set_off
from envs.experts.plan import Failure, Miss, Plan
from envs.experts.rotations import about_vertical, wrap
from envs.types import Segment

HOVER = 0.08  # metres above the handle
LEAD = 0.045  # metres by which the hand runs ahead of the handle
SLACK = 0.004  # metres that may be left of the drawer's way
STROKE_STEPS = 60
AIR_STEPS = 12  # for which a hand that holds nothing goes on as if it held the handle
CLOSE_STEPS, OPEN_STEPS = 6, 5
MISS_HEIGHT = 0.045  # of a missed grasp above the handle, metres
PART_WAY = 0.55  # of the way: little enough that the task is not solved where the hand lets go too early
NOMINAL = 70  # usual frames of a clean episode


def slide_drawer(arm: Arm, simulation: Any, plan: Plan) -> None:
    """Carry out the plan on the counter's drawer, in the direction of the scene's task.

    The segment of a retry runs from the first frame in which the hand closes on nothing to the last frame of
    its way back above the handle.
    """
    hand = _Hand(arm, simulation, plan)
    if plan.failure is not None:
        hand.fail(plan.failure)
        idle(arm, OPEN, round(plan.length * NOMINAL))
        return
    hand.approach()
    if plan.miss is not None:
        hand.miss(plan.miss)
    hand.grasp()
    pause(arm, plan, "lifted", CLOSE)
    hand.slide()
    arm.open(OPEN_STEPS)
    linger(arm, OPEN, plan.linger)


class _Hand:
    """The steps of moving a drawer; `rotation` turns the hand so that its fingers close across the handle."""

    def __init__(self, arm: Arm, simulation: Any, plan: Plan):
        self.arm, self.plan, self.scene = arm, plan, simulation
        outward = simulation.outward()
        across = float(np.arctan2(outward[0], -outward[1]))
        self.rotation = about_vertical(wrap(across - arm.finger_angle, np.pi)) @ arm.level

    def handle(self) -> np.ndarray:
        return np.array(self.scene.sim.data.site_xpos[self.scene.handle_site])

    def hover_point(self) -> np.ndarray:
        return self.handle() + HOVER * UP

    def approach(self) -> None:
        set_off(self.arm, self.plan, self.hover_point(), self.rotation, OPEN)
        self.arm.reach(self.hover_point, self.rotation, OPEN, 0.012)
        pause(self.arm, self.plan, "hover", OPEN)

    def miss(self, miss: Miss) -> None:
        beside = np.array([*miss.offset, MISS_HEIGHT])
        self.arm.reach(lambda: self.handle() + beside, self.rotation, OPEN, 0.01, 30)
        start = len(self.arm)
        self.arm.hold(miss.close_steps, CLOSE)
        self.arm.reach(lambda: self.hover_point() + miss.retreat * UP, self.rotation, OPEN, 0.012, 30)
        self.arm.recorder.segments.append(Segment("retry", start, len(self.arm) - 1))

    def grasp(self) -> None:
        self.arm.reach(self.handle, self.rotation, OPEN, 0.008, 25)
        if pause(self.arm, self.plan, "grasp", OPEN):
            self.arm.reach(self.handle, self.rotation, OPEN, 0.008, 25)
        self.arm.close(CLOSE_STEPS)

    def slide(self, part: float = 1.0) -> None:
        """Move the drawer by a part of the way that is left."""
        height, way = self.arm.position[2], self.scene.way()
        for _ in range(self.arm.patience(STROKE_STEPS)):
            if abs(self.scene.way()) <= max(SLACK, (1 - part) * abs(way)):
                return
            target = self.handle() + np.sign(way) * LEAD * self.scene.outward()
            target[2] = height
            self.arm.act(self.arm.towards(target, self.rotation), CLOSE)

    def fail(self, failure: Failure) -> None:
        self.approach()
        if failure.mistake == "give_up":
            near, far = self.handle(), self.hover_point()
            self.arm.reach(near + max(0.5, failure.fraction) * (far - near), self.rotation, OPEN, 0.015, 20)
        elif failure.mistake == "drop":
            self.grasp()
            self.slide(PART_WAY * failure.fraction)
            self.arm.open(OPEN_STEPS)
        else:
            self.arm.reach(self.handle() + failure.distance * UP, self.rotation, OPEN, 0.015, 30)
            self.arm.close(CLOSE_STEPS)
            self.arm.hold(AIR_STEPS, CLOSE, self.arm.position + self.scene.way() * self.scene.outward())
