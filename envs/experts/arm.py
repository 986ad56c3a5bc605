"""The hand of the robot as an expert sees it: where it is, and how to get it somewhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from envs.experts.rotations import pointing, rotation_vector
from envs.robosuite.env import RobosuiteEnv
from envs.types import Segment

OPEN, CLOSE = -1.0, 1.0
POSITION_STEP = 0.05  # metres that a position action of 1 asks for
TURN_GAIN, TURN_LIMIT = 1.2, 0.35  # of the rotation action, per radian of error and at most
NOISE_CORRELATION = 0.7
TURN_NOISE = 0.3  # of the rotation action, relative to that of the position action
TOLERATED_NOISE = 0.08  # above which a hand is content with less precision
STALL = 0.003  # metres a frame below which the hand counts as stopped
PULL_GAIN, PULL_LIMIT = 0.15, 0.03  # integral action of a stopped hand, at most metres
USUAL_SPEED = 0.75
SLOWEST_FINGERS = 20  # frames after which fingers count as stopped
FINGERS_STOPPED, FINGERS_APART = 0.001, 0.015  # metres a frame; metres


@runtime_checkable
class Stepper(Protocol):
    """What an arm acts through; see `Recorder`, which records the while."""

    env: RobosuiteEnv
    segments: list[Segment]
    solved: bool

    def __len__(self) -> int:
        """Frames so far."""
        ...

    def step(self, action: np.ndarray) -> None:
        """Execute an action: float32 [7] in [-1, 1]."""
        ...


Target = Callable[[], np.ndarray]


class Arm:
    """Drives the hand of the recorder's environment towards poses.

    Positions are in the world frame, metres; rotations are matrices [3, 3], their third column is the
    direction in which the hand points.

    Attributes:
        speed: the largest norm of the position part of an action.
        noise: standard deviation of the innovations of the Ornstein-Uhlenbeck noise on executed actions.
        base: where the robot stands [3].
        level: the rotation that points straight down, nearest to that at the start.
        goal_rotation: the rotation that was last asked for.
    """

    def __init__(self, recorder: Stepper, rng: np.random.Generator, speed: float, noise: float):
        self.recorder, self.rng, self.speed, self.noise = recorder, rng, speed, noise
        simulation = recorder.env.robosuite
        robot, model = simulation.robots[0], simulation.sim.model
        self._data = simulation.sim.data
        self._site = robot.eef_site_id["right"]
        pads = robot.gripper["right"].important_geoms
        self._left, self._right = (
            [model.geom_name2id(name) for name in pads[side]]
            for side in ("left_fingerpad", "right_fingerpad")
        )
        self._disturbance = np.zeros(6)
        self.base = np.array(robot.base_pos)
        self.level = self.goal_rotation = pointing(self.rotation, np.array([0.0, 0.0, -1.0]))
        self._finger_axis = self.rotation.T @ self._between_fingers()  # not of unit length

    def __len__(self) -> int:
        """Frames recorded so far."""
        return len(self.recorder)

    @property
    def position(self) -> np.ndarray:
        """Where the grip site is: float64 [3]."""
        return np.array(self._data.site_xpos[self._site])

    @property
    def rotation(self) -> np.ndarray:
        """How the grip site is turned: float64 [3, 3]."""
        return np.array(self._data.site_xmat[self._site]).reshape(3, 3)

    @property
    def yaw(self) -> float:
        """The turn about the vertical away from `level`, in (−π, π]."""
        turn = self.rotation @ self.level.T
        return float(np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1]))

    @property
    def finger_angle(self) -> float:
        """The horizontal angle of the direction in which the fingers close when the hand is `level`."""
        axis = self.level @ self._finger_axis
        return float(np.arctan2(axis[1], axis[0]))

    @property
    def opening(self) -> float:
        """The distance between the fingers' pads, metres."""
        return float(np.linalg.norm(self._between_fingers()))

    def act(self, motion: np.ndarray, gripper: float) -> None:
        """Execute and record one action: `motion` [6] plus the noise, and the gripper's sign."""
        scale = np.array([1.0] * 3 + [TURN_NOISE] * 3)
        innovation = self.noise * scale * self.rng.standard_normal(6)
        self._disturbance = NOISE_CORRELATION * self._disturbance + innovation
        self._execute(motion + self._disturbance, gripper)

    def towards(self, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """The noiseless motion [6] towards a pose: proportional to the error, limited by `speed`."""
        move = _limited((position - self.position) / POSITION_STEP, self.speed)
        turn = _limited(TURN_GAIN * rotation_vector(rotation @ self.rotation.T), TURN_LIMIT)
        return np.concatenate([move, turn])

    def reach(
        self,
        target: Target | np.ndarray,
        rotation: np.ndarray,
        gripper: float,
        tolerance: float,
        max_steps: int = 100,
        turn_tolerance: float = 0.2,
    ) -> bool:
        """Move until within `tolerance` metres (and `turn_tolerance` radians) of a pose; the target may move.

        Where friction or a load stops the hand short, it pulls harder. Noisy hands are content with
        proportionally less. Returns whether it got there within `max_steps` frames, stretched for slow hands.
        """
        where = target if callable(target) else lambda: target
        tolerance *= max(1.0, self.noise / TOLERATED_NOISE)
        self.goal_rotation = rotation
        pull, before = np.zeros(3), np.full(3, np.inf)
        for _ in range(self.patience(max_steps)):
            error = where() - self.position
            turn = np.linalg.norm(rotation_vector(rotation @ self.rotation.T))
            if np.linalg.norm(error) < tolerance and turn < turn_tolerance:
                return True
            if np.linalg.norm(self.position - before) < STALL:
                pull = _limited(pull + PULL_GAIN * error, PULL_LIMIT)
            before = self.position
            self.act(self.towards(where() + pull, rotation), gripper)
        return False

    def patience(self, steps: int) -> int:
        """As many frames as a hand of the usual speed would need `steps` for."""
        return round(steps * max(1.0, USUAL_SPEED / self.speed))

    def hold(self, steps: int, gripper: float, position: np.ndarray | None = None) -> None:
        """Go to a position (default: stay here) as last turned, for a number of frames."""
        anchor = self.position if position is None else position
        for _ in range(steps):
            self.act(self.towards(anchor, self.goal_rotation), gripper)

    def close(self, steps: int) -> None:
        """Close the hand for a number of frames, and until the fingers have stopped."""
        anchor = self.position
        self.hold(steps, CLOSE, anchor)
        for _ in range(SLOWEST_FINGERS - steps):
            before = self.opening
            self.hold(1, CLOSE, anchor)
            if abs(self.opening - before) < FINGERS_STOPPED:
                return

    def open(self, steps: int) -> None:
        """Open the hand for a number of frames, and until the fingers are well apart from what they held."""
        anchor, before = self.position, self.opening
        self.hold(steps, OPEN, anchor)
        for _ in range(SLOWEST_FINGERS - steps):
            if self.opening > before + FINGERS_APART:
                return
            self.hold(1, OPEN, anchor)

    def still(self, steps: int, gripper: float) -> None:
        """Stay where the hand is for a number of frames, without any noise."""
        anchor, rotation = self.position, self.rotation
        self._disturbance[:] = 0.0
        for _ in range(steps):
            self._execute(self.towards(anchor, rotation), gripper)

    def _execute(self, motion: np.ndarray, gripper: float) -> None:
        self.recorder.step(np.append(np.clip(motion, -1.0, 1.0), gripper).astype(np.float32))

    def _between_fingers(self) -> np.ndarray:
        left, right = (np.mean(self._data.geom_xpos[pads], axis=0) for pads in (self._left, self._right))
        return right - left


def _limited(vector: np.ndarray, norm: float) -> np.ndarray:
    """The vector, shortened to `norm` where it is longer."""
    return vector * min(1.0, norm / max(float(np.linalg.norm(vector)), 1e-9))
