"""Turns of the hand: rotation matrices [3, 3], angles in radians."""

from __future__ import annotations

import numpy as np

from envs.robosuite.headless import mujoco


def wrap(angle: float, period: float = 2 * np.pi) -> float:
    """The angle, modulo the period, that is nearest to 0."""
    return float((angle + period / 2) % period - period / 2)


def about(axis: np.ndarray, angle: float) -> np.ndarray:
    """The turn by an angle about a unit vector [3]."""
    quaternion, turn = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(quaternion, np.asarray(axis, float), angle)
    mujoco.mju_quat2Mat(turn, quaternion)
    return turn.reshape(3, 3)


def about_vertical(angle: float) -> np.ndarray:
    """The turn by an angle about the vertical."""
    return about(np.array([0.0, 0.0, 1.0]), angle)


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """The axis of a rotation times its angle: [3]."""
    quaternion, vector = np.zeros(4), np.zeros(3)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def pointing(rotation: np.ndarray, approach: np.ndarray) -> np.ndarray:
    """The rotation nearest to `rotation` whose third column is `approach`, a unit vector [3]."""
    axis = np.cross(rotation[:, 2], approach)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-9:
        return rotation
    return about(axis / sine, float(np.arctan2(sine, rotation[:, 2] @ approach))) @ rotation
