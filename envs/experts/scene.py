"""What a pick-and-place expert knows of its task: the object, how to grip it and where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.experts.rotations import wrap

BIN_FLOOR = 0.02  # above the bin's own height
BIN_WALL = 0.10
BIN_EDGE = 0.01  # half the thickness of its walls
PALM = np.array(
    [0.105, 0.035]
)  # half the palm's size along and across the direction in which the fingers close
FINGER = 0.055  # from the middle of the open hand to a finger
CUBE_CLEARANCE = 0.045  # from a finger to the centre of another cube
ASIDE = 0.15  # from a tray's middle towards the robot to where an eggplant lies beside it
REACH, NEARER = (
    0.75,
    0.06,
)  # goals beyond this distance from the robot's base are moved closer by so much, metres


@dataclass(frozen=True)
class Grip:
    """How to take an object, in its own frame, metres and radians.

    top: how far the object reaches above the grip point; bottom: how far below its origin.
    point: where the fingers meet [3].
    angle: direction in which the fingers close.
    period: turns after which the grip is the same, None when every turn is.
    """

    top: float
    bottom: float
    point: tuple[float, float, float] = (0.0, 0.0, 0.0)
    angle: float = 0.0
    period: float | None = np.pi / 2


@dataclass(frozen=True)
class Scene:
    """One task seen by the expert; world frame, metres and radians.

    pose: the object's origin [3] and rotation [3, 3] now.
    goal: where its origin should be released [3], None when lifting it is all.
    carry_height: height of its origin on the way.
    nominal: usual frames of a clean episode.
    astray: from the goal to where a careless release ends, given a direction and a distance.
    goal_period: turns about the vertical after which the placed object fits again, None when any does.
    overlap: how far a hand at a point [2] whose fingers close along an angle reaches into things around.
    precision: position and rotation errors with which the hand stops above the goal.
    pace: of the hand, relative to usual.
    part_way: of the carry at which a hand lets go too early, relative to usual.
    """

    grip: Grip
    pose: Callable[[], tuple[np.ndarray, np.ndarray]]
    goal: Callable[[], np.ndarray] | None
    carry_height: float
    nominal: int
    astray: Callable[[float, float], np.ndarray]
    goal_period: float | None = None
    overlap: Callable[[np.ndarray, float], float] = lambda point, angle: 0.0
    pace: float = 1.0
    part_way: float = 1.0
    precision: tuple[float, float] = (0.01, 0.2)

    def position(self) -> np.ndarray:
        """The object's origin now."""
        return self.pose()[0]

    def yaw(self) -> float:
        """The object's turn about the vertical now."""
        rotation = self.pose()[1]
        return float(np.arctan2(rotation[1, 0], rotation[0, 0]))

    def grip_point(self) -> np.ndarray:
        """Where the fingers should meet now."""
        position, rotation = self.pose()
        return position + rotation @ np.array(self.grip.point)

    def grip_yaw(self, finger_angle: float) -> float:
        """The turn of the hand to grip the object now: the smallest of those least in the way of other things.

        finger_angle: direction in which the fingers close when the hand is not turned.
        """
        if self.grip.period is None:
            return 0.0
        turn = wrap(self.yaw() + self.grip.angle - finger_angle, self.grip.period)
        turns = [turn, turn - np.copysign(self.grip.period, turn)]
        point = self.grip_point()[:2]
        return min(turns, key=lambda turn: (round(self.overlap(point, turn + finger_angle), 2), abs(turn)))


CUBE = Grip(top=0.02, bottom=0.02)
GRIPS = {
    "can": Grip(top=0.03, bottom=0.0403, point=(0.0, 0.0, 0.01), period=None),
    "bread": Grip(top=0.02, bottom=0.0233, point=(0.0, 0.0, 0.004)),
    "cereal": Grip(top=0.035, bottom=0.075, point=(0.0, 0.0, 0.04), angle=np.pi / 2, period=np.pi),
    "milk": Grip(top=0.043, bottom=0.061, point=(0.0, 0.0, 0.04)),
}
EGGPLANT = Grip(top=0.02, bottom=0.019, angle=np.pi / 2, period=np.pi)
NUT = Grip(top=0.005, bottom=0.01, point=(0.054, 0.0, 0.005), angle=np.pi / 2, period=np.pi)


def pick_scene(task: str, simulation: Any) -> Scene:
    """The scene of a pick-and-place task; `simulation` is the robosuite environment."""
    return _BUILDERS[task](simulation)


def _pose_of(simulation: Any, body: str) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    number = simulation.sim.model.body_name2id(body)

    def pose() -> tuple[np.ndarray, np.ndarray]:
        data = simulation.sim.data
        return np.array(data.body_xpos[number]), np.array(data.body_xmat[number]).reshape(3, 3)

    return pose


def _beside(direction: float, distance: float) -> np.ndarray:
    return distance * np.array([np.cos(direction), np.sin(direction), 0.0])


def _fingers_in_cube(point: np.ndarray, angle: float, cube: np.ndarray) -> float:
    finger = FINGER * np.array([np.cos(angle), np.sin(angle)])
    nearest = min(np.linalg.norm(point + finger - cube), np.linalg.norm(point - finger - cube))
    return max(0.0, CUBE_CLEARANCE - float(nearest))


def _palm_in_walls(point: np.ndarray, angle: float, simulation: Any) -> float:
    half = np.array(simulation.bin_size[:2]) / 2 - BIN_EDGE
    cos, sin = abs(np.cos(angle)), abs(np.sin(angle))
    extent = np.array([[cos, sin], [sin, cos]]) @ PALM
    return max(0.0, float(np.max(np.abs(point - simulation.bin1_pos[:2]) + extent - half)))


def _within_reach(target: np.ndarray, simulation: Any) -> np.ndarray:
    """The target, or where an arm would have to strain to reach it, a nearer position in the same bin."""
    way = target[:2] - simulation.robots[0].base_pos[:2]
    distance = np.linalg.norm(way)
    return target - np.append(way / distance * (NEARER if distance > REACH else 0.0), 0.0)


def _lift(simulation: Any) -> Scene:
    return Scene(CUBE, _pose_of(simulation, simulation.cube.root_body), None, 0.92, 45, _beside)


def _stack(simulation: Any) -> Scene:
    base = _pose_of(simulation, simulation.cubeB.root_body)
    return Scene(
        grip=CUBE,
        pose=_pose_of(simulation, simulation.cubeA.root_body),
        goal=lambda: base()[0] + np.array([0.0, 0.0, 0.046]),
        carry_height=0.93,
        nominal=85,
        astray=_beside,
        overlap=lambda point, angle: _fingers_in_cube(point, angle, base()[0][:2]),
    )


def _bins(simulation: Any) -> Scene:
    thing = simulation.objects[simulation.object_id]
    grip = GRIPS[thing.name.lower()]
    target = simulation.target_bin_placements[simulation.object_id]
    goal = _within_reach(target, simulation) + np.array([0.0, 0.0, BIN_FLOOR + grip.bottom + 0.01])
    to_other_cell = np.sign(simulation.bin2_pos[0] - target[0]) * simulation.bin_size[0] / 2
    return Scene(
        grip=grip,
        pose=_pose_of(simulation, thing.root_body),
        goal=lambda: goal,
        carry_height=simulation.bin2_pos[2] + BIN_WALL + grip.bottom + 0.06,
        nominal=110,
        astray=lambda direction, distance: (
            np.array([to_other_cell, 0.0, 0.02]) + 0.3 * _beside(direction, distance)
        ),
        overlap=lambda point, angle: _palm_in_walls(point, angle, simulation),
        pace=1.3,
    )


def _nut(simulation: Any) -> Scene:
    peg = _pose_of(simulation, "peg1")
    height = simulation.table_offset[2] + 0.035
    return Scene(
        grip=NUT,
        pose=_pose_of(simulation, simulation.nuts[simulation.nut_id].root_body),
        goal=lambda: np.array([*peg()[0][:2], height]),
        carry_height=1.0,
        nominal=130,
        astray=_beside,
        goal_period=np.pi / 2,
        precision=(0.005, 0.1),
    )


def _eggplant(simulation: Any) -> Scene:
    def goal() -> np.ndarray:
        return simulation.tray_floor(simulation.tray) + np.array([0.0, 0.0, EGGPLANT.bottom + 0.01])

    return Scene(
        grip=EGGPLANT,
        pose=_pose_of(simulation, "eggplant_main"),
        goal=goal,
        carry_height=0.9,
        nominal=95,
        astray=lambda direction, distance: np.array([-ASIDE - 0.5 * distance, 0.02 * np.sin(direction), 0.0]),
        pace=1.3,
        part_way=0.6,
    )


_BUILDERS: dict[str, Callable[[Any], Scene]] = {
    "lift": _lift,
    "stack": _stack,
    "can": _bins,
    "bread": _bins,
    "cereal": _bins,
    "milk": _bins,
    "nut_square": _nut,
    "eggplant_sink": _eggplant,
    "eggplant_basket": _eggplant,
}
