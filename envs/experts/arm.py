"""The hand of the robot as an expert sees it: where it is, how to get it somewhere, and what it did on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from envs.headless import mujoco
from envs.robosuite_env import RobosuiteEnv
from envs.types import Episode, Segment

OPEN, CLOSE = -1.0, 1.0
POSITION_STEP = 0.05  # metres that a position action of 1 asks for
TURN_GAIN, TURN_LIMIT = 1.2, 0.35  # of the rotation action, per radian of error and at most
NOISE_CORRELATION = 0.7
STALL = 0.003  # metres a frame below which the hand counts as stopped
PULL_GAIN, PULL_LIMIT = 0.15, 0.03  # integral action of a stopped hand, at most metres
TOLERATED_NOISE = 0.08
TURN_NOISE = 0.3  # of the rotation action, relative to that of the position action

Target = Callable[[], np.ndarray]


class Arm:
    """Drives the hand of `env` towards targets and records every frame.

    Positions are in the world frame, metres. Yaw is the turn of the hand about the vertical in radians, 0 where the
    hand is at the start; the hand is kept pointing straight down (or, after `aim`, along another direction).

    Attributes:
        speed: the largest norm of the position part of an action, in (0, 1].
        base: where the robot stands [3].
        noise: standard deviation of the innovations of the Ornstein-Uhlenbeck noise on executed actions.
        segments: suboptimal stretches so far; `solved`: the last action ended in a solved state.
    """

    def __init__(self, env: RobosuiteEnv, seed: int, rng: np.random.Generator, speed: float, noise: float):
        observation, info = env.reset(seed=seed)
        self.env, self.rng, self.speed, self.noise = env, rng, speed, noise
        self.seed, self.instruction = seed, info["instruction"]
        self.segments: list[Segment] = []
        self.solved = False
        self._observation: Mapping | None = observation
        self._observations: list[Mapping] = []
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._disturbance = np.zeros(6)
        robot = env.robosuite.robots[0]
        self.base = np.array(robot.base_pos)
        self._site = robot.eef_site_id["right"]
        self._pads = [
            [
                env.robosuite.sim.model.geom_name2id(name)
                for name in robot.gripper["right"].important_geoms[side]
            ]
            for side in ("left_fingerpad", "right_fingerpad")
        ]
        self._level = _pointing(self.rotation, np.array([0.0, 0.0, -1.0]))
        self._finger_axis = self.rotation.T @ self.finger_axis

    def __len__(self) -> int:
        """Frames recorded so far."""
        return len(self._actions)

    @property
    def position(self) -> np.ndarray:
        """Where the grip site is: float64 [3]."""
        return np.array(self.env.robosuite.sim.data.site_xpos[self._site])

    @property
    def rotation(self) -> np.ndarray:
        """How the grip site is turned: float64 [3, 3]."""
        return np.array(self.env.robosuite.sim.data.site_xmat[self._site]).reshape(3, 3)

    @property
    def finger_axis(self) -> np.ndarray:
        """The direction in which the fingers close: a unit vector [3]."""
        left, right = (np.mean(self.env.robosuite.sim.data.geom_xpos[pads], axis=0) for pads in self._pads)
        return (right - left) / np.linalg.norm(right - left)

    @property
    def yaw(self) -> float:
        """The turn about the vertical since the start, in (−π, π]."""
        turn = self.rotation @ self._level.T
        return float(np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1]))

    @property
    def finger_angle(self) -> float:
        """The horizontal angle of the finger axis when yaw is 0 and the hand points straight down."""
        axis = self._level @ self._finger_axis
        return float(np.arctan2(axis[1], axis[0]))

    def aim(self, approach: np.ndarray) -> None:
        """From now on keep the hand pointing along `approach` (a unit vector [3]) instead of straight down."""
        self._level = _pointing(self._level, approach)

    def act(self, motion: np.ndarray, gripper: float) -> None:
        """Execute and record one action: `motion` [6] plus the noise, and the gripper's sign."""
        scale = np.array([1.0] * 3 + [TURN_NOISE] * 3)
        innovation = self.noise * scale * self.rng.standard_normal(6)
        self._disturbance = NOISE_CORRELATION * self._disturbance + innovation
        self._execute(motion + self._disturbance, gripper)

    def _execute(self, motion: np.ndarray, gripper: float) -> None:
        action = np.append(np.clip(motion, -1.0, 1.0), gripper).astype(np.float32)
        self._observations.append(self.env.observe() if self._observation is None else self._observation)
        self._observation = None
        reward, success = self.env.advance(action)
        self.solved = bool(success)
        self._actions.append(action)
        self._rewards.append(float(reward))

    def towards(self, position: np.ndarray, yaw: float) -> np.ndarray:
        """The noiseless motion [6] that brings the hand closer to a pose: proportional, limited by `speed`."""
        move = _limited((position - self.position) / POSITION_STEP, self.speed)
        turn = TURN_GAIN * _rotation_vector(about_vertical(yaw) @ self._level @ self.rotation.T)
        return np.concatenate([move, _limited(turn, TURN_LIMIT)])

    def reach(
        self,
        target: Target | np.ndarray,
        yaw: float,
        gripper: float,
        tolerance: float,
        max_steps: int = 100,
        turn_tolerance: float = 0.15,
    ) -> bool:
        """Move until within `tolerance` metres (and `turn_tolerance` radians) of the target, which may move.

        Where friction or a load stops the hand short, it pulls harder. Hands noisier than usual are content
        with proportionally less. Returns whether it got there within `max_steps` frames, stretched for slow
        hands.
        """
        where = target if callable(target) else lambda: target
        tolerance *= max(1.0, self.noise / TOLERATED_NOISE)
        pull, before = np.zeros(3), np.full(3, np.inf)
        for _ in range(round(max_steps * max(1.0, 0.75 / self.speed))):
            error = where() - self.position
            if np.linalg.norm(error) < tolerance and abs(wrap(yaw - self.yaw)) < turn_tolerance:
                return True
            if np.linalg.norm(self.position - before) < STALL:
                pull = _limited(pull + PULL_GAIN * error, PULL_LIMIT)
            before = self.position
            self.act(self.towards(where() + pull, yaw), gripper)
        return False

    def hold(
        self, steps: int, gripper: float, position: np.ndarray | None = None, yaw: float | None = None
    ) -> None:
        """Stay at a position (default: here) for a number of frames."""
        anchor = self.position if position is None else position
        heading = self.yaw if yaw is None else yaw
        for _ in range(steps):
            self.act(self.towards(anchor, heading), gripper)

    def still(self, steps: int, gripper: float) -> None:
        """Stay where the hand is for a number of frames, without any noise."""
        anchor, heading = self.position, self.yaw
        self._disturbance[:] = 0.0
        for _ in range(steps):
            self._execute(self.towards(anchor, heading), gripper)

    def episode(self, style: str) -> Episode:
        """Everything recorded, as an episode that succeeded if its last frame earned a reward."""
        observations = self._observations
        return Episode(
            images={
                camera: np.stack([observation["images"][camera] for observation in observations])
                for camera in observations[0]["images"]
            },
            proprio=np.stack([observation["proprio"] for observation in observations]),
            actions=np.stack(self._actions),
            rewards=np.array(self._rewards, np.float32),
            environment_state=np.stack([observation["environment_state"] for observation in observations]),
            success=self._rewards[-1] > 0,
            task=self.env.task,
            instruction=self.instruction,
            robot=self.env.robot,
            seed=self.seed,
            fps=float(self.env.metadata["render_fps"]),
            style=style,
            segments=tuple(self.segments),
        )


def wrap(angle: float, period: float = 2 * np.pi) -> float:
    """The angle, modulo the period, that is nearest to 0."""
    return float((angle + period / 2) % period - period / 2)


def _limited(vector: np.ndarray, norm: float) -> np.ndarray:
    """The vector, shortened to `norm` where it is longer."""
    return vector * min(1.0, norm / max(float(np.linalg.norm(vector)), 1e-9))


def about_vertical(yaw: float) -> np.ndarray:
    """The turn about the vertical as a matrix [3, 3]."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _rotation_vector(rotation: np.ndarray) -> np.ndarray:
    quaternion, vector = np.zeros(4), np.zeros(3)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def _pointing(rotation: np.ndarray, approach: np.ndarray) -> np.ndarray:
    """The rotation nearest to `rotation` whose third column is `approach`."""
    axis = np.cross(rotation[:, 2], approach)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-9:
        return rotation
    quaternion, turn = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(quaternion, axis / sine, np.arctan2(sine, float(rotation[:, 2] @ approach)))
    mujoco.mju_quat2Mat(turn, quaternion)
    return turn.reshape(3, 3) @ rotation
