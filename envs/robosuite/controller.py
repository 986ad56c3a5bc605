"""Operational-space control of the hand without robosuite's overhead: the same torques at every physics step.

robosuite runs its controller in Python at each of the 25 physics steps of a control step, with look-ups
by name, copies and pseudo-inverses. Here the same formula is one compiled function on arrays looked up once.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numba
import numpy as np

from envs.robosuite.headless import mujoco

_NULLSPACE_STIFFNESS = 10.0  # robosuite's: it pulls the arm's redundant joint back to where it was at reset


@numba.njit(cache=True)
@no_type_check
def _solve(matrix, right):
    """X of matrix X = right, by Cholesky; matrix [N, N] symmetric and positive, right [N, K]."""
    size, columns = right.shape
    factor, solution = np.empty((size, size)), np.empty((size, columns))
    for row in range(size):
        for column in range(row + 1):
            total = matrix[row, column]
            for k in range(column):
                total -= factor[row, k] * factor[column, k]
            factor[row, column] = np.sqrt(total) if row == column else total / factor[column, column]
    for column in range(columns):
        for row in range(size):
            total = right[row, column]
            for k in range(row):
                total -= factor[row, k] * solution[k, column]
            solution[row, column] = total / factor[row, row]
        for row in range(size - 1, -1, -1):
            total = solution[row, column]
            for k in range(row + 1, size):
                total -= factor[k, row] * solution[k, column]
            solution[row, column] = total / factor[row, row]
    return solution


class HandController:
    """robosuite's OSC_POSE (delta, in the base frame) and its gripper, for the episode that begins.

    F = kp (x_goal - x) - kd ẋ, in metres and radians; τ = Jᵀ [Λ_pos F_pos; Λ_rot F_rot] + bias + Nᵀ M a, with
    Λ = (J M⁻¹ Jᵀ)⁻¹ for position and rotation apart, N the null space of J, and a the acceleration towards
    the posture at reset (Khatib 1987). Gains, limits and goals are read from robosuite's own controller.
    """

    def __init__(self, world: Any):
        from robosuite.utils.transform_utils import (
            axisangle2quat,
            quat2mat,
        )  # not at the top: it logs while imported

        self._to_rotation = lambda turn: quat2mat(axisangle2quat(turn))
        robot = world.robots[0]
        arm, gripper = robot.part_controllers["right"], robot.part_controllers["right_gripper"]
        assert arm.impedance_mode == "fixed" and arm.input_type == "delta" and arm.input_ref_frame == "base"
        assert (
            arm.uncoupling and arm.use_ori and arm.interpolator_pos is None and arm.interpolator_ori is None
        )
        self._model, self._data = world.sim.model._model, world.sim.data._data
        self._substeps = int(world.control_timestep / world.model_timestep)
        self._arm, self._grip, self._fingers = arm, gripper, robot.gripper["right"]
        self._site = world.sim.model.site_name2id(arm.ref_name)
        base = world.sim.model.site_name2id(f"{arm.naming_prefix}{arm.part_name}_center")
        self._base_position = self._data.site_xpos[base].copy()
        self._base_rotation = self._data.site_xmat[base].reshape(3, 3).copy()
        self._qpos, self._qvel = np.array(arm.qpos_index), np.array(arm.qvel_index)
        self._arm_actuators = np.array(robot._ref_actuators_indexes_dict["right"])
        self._grip_actuators = np.array(robot._ref_actuators_indexes_dict["right_gripper"])
        self._limits = self._model.actuator_ctrlrange[self._arm_actuators].copy()
        self._gains = np.stack([arm.kp, arm.kd])
        self._posture = np.array(arm.initial_joint)
        self._first = True
        self._jacobian = np.zeros((6, self._model.nv))
        self._mass = np.zeros((self._model.nv, self._model.nv))
        data = self._data
        self._arrays = (
            data.ctrl, self._arm_actuators, self._limits, self._jacobian, self._mass, data.qpos, data.qvel,
            data.qfrc_bias, self._qpos, self._qvel, data.site_xpos[self._site], data.site_xmat[self._site],
        )  # fmt: skip  # views of the state: looked up once

    def fingers(self) -> np.ndarray:
        """What the gripper was last asked for, which it goes on from: float64 [G]."""
        return np.array(self._fingers.current_action, np.float64)

    def resume(self, fingers: np.ndarray, begun: bool) -> None:
        """Go on in the midst of an episode, after its first step if it has `begun`."""
        self._fingers.current_action = fingers.copy()
        self._first = not begun

    def step(self, action: np.ndarray) -> None:
        """Hold the goal that `action` (float [7]) sets for one control step of physics."""
        model, data = self._model, self._data
        mujoco.mj_step1(model, data)
        position, rotation = self._goal(action[:6])
        data.ctrl[self._grip_actuators] = self._grip_command(action[6:])
        for substep in range(self._substeps):
            if substep:
                mujoco.mj_step1(model, data)
            mujoco.mj_jacSite(model, data, self._jacobian[:3], self._jacobian[3:], self._site)
            mujoco.mj_fullM(model, self._mass, data.qM)
            if (
                self._first
            ):  # robosuite's first torque knows the mass matrix of before the fingers were put in place
                self._mass[np.ix_(self._qvel, self._qvel)] = self._arm.mass_matrix
                self._first = False
            _apply_torques(*self._arrays, position, rotation, self._gains, self._posture)
            mujoco.mj_step2(model, data)

    def _goal(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World position [3] and rotation [3, 3] to reach: where the hand is now, displaced by the action."""
        delta = self._arm.scale_action(action)
        base = self._base_rotation
        position = base.T @ (self._data.site_xpos[self._site] - self._base_position) + delta[:3]
        rotation = self._to_rotation(delta[3:]) @ (base.T @ self._data.site_xmat[self._site].reshape(3, 3))
        return self._base_position + base @ position, base @ rotation

    def _grip_command(self, action: np.ndarray) -> np.ndarray:
        fingers = self._grip.scale_action(self._fingers.format_action(action))
        low, high = self._grip.actuator_min, self._grip.actuator_max
        return np.clip(0.5 * (high + low) + 0.5 * (high - low) * fingers, low, high)


@numba.njit(cache=True)
@no_type_check
def _apply_torques(
    ctrl, actuators, limits, jacobian_all, mass_all, qpos_all, qvel_all, bias, qpos_index, qvel_index,
    position, rotation, goal_position, goal_rotation, gains, posture,
):  # fmt: skip
    """Write the arm's torques to `ctrl`. Loops compile and run faster than array operations at this size."""
    joints = qvel_index.size
    jacobian, mass = np.empty((6, joints)), np.empty((joints, joints))
    velocity, pull = np.zeros(6), np.zeros((joints, 1))
    for column in range(joints):
        dof = qvel_index[column]
        for row in range(6):
            jacobian[row, column] = jacobian_all[row, dof]
            velocity[row] += jacobian_all[row, dof] * qvel_all[dof]
        spring = _NULLSPACE_STIFFNESS * (posture[column] - qpos_all[qpos_index[column]])
        spring -= 2 * np.sqrt(_NULLSPACE_STIFFNESS) * qvel_all[dof]
        for row in range(joints):
            mass[row, column] = mass_all[qvel_index[row], dof]
            pull[row, 0] += mass[row, column] * spring

    wrench = np.zeros((6, 1))
    for axis in range(3):
        wrench[axis, 0] = goal_position[axis] - position[axis]
        a, b = (axis + 1) % 3, (axis + 2) % 3  # half the sum of the cross products of the two frames' axes
        for k in range(3):
            wrench[3 + axis, 0] += 0.5 * (
                rotation[3 * a + k] * goal_rotation[b, k] - rotation[3 * b + k] * goal_rotation[a, k]
            )
    for row in range(6):
        wrench[row, 0] = gains[0, row] * wrench[row, 0] - gains[1, row] * velocity[row]

    solved = _solve(mass, jacobian.T.copy())  # M⁻¹ Jᵀ
    mobility, task_pull = np.zeros((6, 6)), np.zeros((6, 1))  # J M⁻¹ Jᵀ; J M⁻¹ pull
    for row in range(6):
        for joint in range(joints):
            task_pull[row, 0] += solved[joint, row] * pull[joint, 0]
            for column in range(6):
                mobility[row, column] += jacobian[row, joint] * solved[joint, column]
    # the wrench, position and rotation apart, less what the posture does to the hand: Nᵀ = I - Jᵀ Λ J M⁻¹
    wrench[:3] = _solve(mobility[:3, :3].copy(), wrench[:3])
    wrench[3:] = _solve(mobility[3:, 3:].copy(), wrench[3:])
    wrench -= _solve(mobility, task_pull)
    for joint in range(joints):
        torque = pull[joint, 0] + bias[qvel_index[joint]]
        for row in range(6):
            torque += jacobian[row, joint] * wrench[row, 0]
        ctrl[actuators[joint]] = min(max(torque, limits[joint, 0]), limits[joint, 1])
