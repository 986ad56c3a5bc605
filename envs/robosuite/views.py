"""The numbers beside an observation's pictures: what the robot feels, and what only a simulator knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from envs.robosuite.headless import mujoco

PROPRIO_SIZE = 8
STATE_SIZE = 8
DOOR_OPEN = 0.3  # rad at the hinge: robosuite's success
PRECISION = 0.05  # m, the unit of places in `visible_state`
LIFTED = 0.04  # m above the table: robosuite's success
_GRIPPERS = {
    "Panda": (0.04, 0.0),
    "Sawyer": (0.011, -0.0118),
    "UR5e": (-0.05, 0.41),
}  # first joint: open, closed


def proprioception(world: Any, robot: str) -> np.ndarray:
    """What the robot feels: float32 [8], the same for every robot, in the frame of its base.

    Position of the hand (metres, 3); its orientation as a quaternion (w, x, y, z, 4) with x + y >= 0, which
    is near (0, .7, .7, 0) while the hand points down; opening of the gripper (1) from 0, closed, to 1.
    """
    arm, data = world.robots[0], world.sim.data._data
    site = arm.eef_site_id["right"]
    base = world.sim.model.body_name2id(arm.robot_model.root_body)
    to_base = data.xmat[base].reshape(3, 3).T
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, (to_base @ data.site_xmat[site].reshape(3, 3)).ravel())
    if quaternion[1] + quaternion[2] < 0:
        quaternion = -quaternion
    opened, closed = _GRIPPERS[robot]
    joint = data.qpos[arm._ref_gripper_joint_pos_indexes["right"][0]]
    opening = min(max((joint - closed) / (opened - closed), 0.0), 1.0)
    position = to_base @ (data.site_xpos[site] - data.xpos[base])
    return np.concatenate([position, quaternion, [opening]]).astype(np.float32)


def environment_state(world: Any, task: str) -> np.ndarray:
    """What only the simulator knows: float32 [8] in the world frame.

    Position of the task's object (metres, 3), position where it has to go (3), cosine and sine of the
    object's yaw.
    The target is, for lift, the height that counts as lifted, above the cube; stack: the cube below; can,
    bread, cereal and milk: the compartment of the bin; nut_square: the peg; door: the place of its handle
    once the door is open, where the object is the handle and the yaw is the door's; open_drawer, close_drawer: the
    place of its handle once the drawer is wholly open or closed; eggplant_sink, eggplant_basket: the middle of the
    floor of the tray where it belongs.
    """
    position, target, body = _OBJECTS.get(task, _from_bin)(world)
    cosine, _, _, sine = world.sim.data._data.xmat[body][:4]
    yaw = np.array([cosine, sine]) / max(np.hypot(cosine, sine), 1e-9)
    return np.concatenate([position, target, yaw]).astype(np.float32)


def visible_state(state: np.ndarray) -> np.ndarray:
    """What a picture can tell of `environment_state`, in units of the precision that a grasp needs: [T, 8] -> float32
    [T, 10].

    Both positions in units of 5 cm, then cosine and sine of twice and of four times the yaw. A carton or a cube looks the
    same after a quarter of a turn, so that its yaw cannot be learned from pictures, but four times its yaw can.
    """
    yaw = np.arctan2(state[:, 7], state[:, 6])
    turns = [turn(times * yaw) for times in (2, 4) for turn in (np.cos, np.sin)]
    return np.column_stack([state[:, :6] / PRECISION, *turns]).astype(np.float32)


def _lift(world: Any) -> tuple[np.ndarray, np.ndarray, int]:
    position = world.sim.data.xpos[world.cube_body_id]
    height = world.table_offset[2] + LIFTED
    return position, np.array([position[0], position[1], height]), world.cube_body_id


def _stack(world: Any) -> tuple[np.ndarray, np.ndarray, int]:
    positions = world.sim.data.xpos
    return positions[world.cubeA_body_id], positions[world.cubeB_body_id], world.cubeA_body_id


def _from_bin(world: Any) -> tuple[np.ndarray, np.ndarray, int]:
    body = world.obj_body_id[world.obj_to_use]
    return world.sim.data.xpos[body], world.target_bin_placements[world.object_id], body


def _nut_square(world: Any) -> tuple[np.ndarray, np.ndarray, int]:
    body = world.obj_body_id[world.obj_to_use]
    return world.sim.data.xpos[body], world.sim.data.xpos[world.peg1_body_id], body


def _door(world: Any) -> tuple[np.ndarray, np.ndarray, int]:
    model, data = world.sim.model._model, world.sim.data._data
    hinge = model.joint(world.door.joints[0]).id
    handle, anchor = data.site_xpos[world.door_handle_site_id], data.xanchor[hinge]
    turn, lever = np.empty(4), np.empty(3)
    mujoco.mju_axisAngle2Quat(turn, data.xaxis[hinge], DOOR_OPEN - data.qpos[model.jnt_qposadr[hinge]])
    mujoco.mju_rotVecQuat(lever, handle - anchor, turn)
    return handle, anchor + lever, int(model.jnt_bodyid[hinge])


def _drawer(world: Any) -> tuple[np.ndarray, np.ndarray, int]:
    handle = world.sim.data.site_xpos[world.handle_site]
    return handle, handle + world.way() * world.outward(), world.drawer_body


def _eggplant(world: Any) -> tuple[np.ndarray, np.ndarray, int]:
    return world.sim.data.xpos[world.eggplant_body], world.tray_floor(world.tray), world.eggplant_body


_OBJECTS: dict[str, Callable[[Any], tuple[np.ndarray, np.ndarray, int]]] = {
    "lift": _lift,
    "stack": _stack,
    "nut_square": _nut_square,
    "door": _door,
    "open_drawer": _drawer,
    "close_drawer": _drawer,
    "eggplant_sink": _eggplant,
    "eggplant_basket": _eggplant,
}
