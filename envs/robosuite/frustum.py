"""What a camera cannot see: shapes that lie wholly beside its picture need not be drawn."""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

from envs.robosuite.headless import mujoco


def hidden(model: mujoco.MjModel, data: mujoco.MjData, camera: int) -> np.ndarray:
    """Which geoms lie wholly outside the square picture of a camera: bool [G]; never a plane, which has no end.

    A shape lies outside when its oriented bounding box is on the outer side of one of the four planes through the
    camera's eye and the picture's edges (Assarsson & Möller 2000). Pictures are the same without it.
    """
    return _outside(
        data.cam_xpos[camera],
        data.cam_xmat[camera],
        np.tan(np.deg2rad(model.cam_fovy[camera]) / 2),
        data.geom_xpos,
        data.geom_xmat,
        model.geom_aabb,
        model.geom_type == _PLANE,
    )


_PLANE = mujoco.mjtGeom.mjGEOM_PLANE.value


@numba.njit(cache=True)
@no_type_check
def _outside(eye, axes, slope, positions, rotations, boxes, endless):
    """Boxes [G, 6] are centre and half sizes in the frame of their geom; axes [9] the camera's, which looks along -z."""
    outside = np.zeros(len(positions), np.bool_)
    normal, along = np.empty(3), np.empty(3)
    for geom in range(len(positions)):
        if endless[geom]:
            continue
        for plane in range(4):
            sign = 1.0 if plane % 2 else -1.0
            for row in range(3):  # outwards
                normal[row] = sign * axes[3 * row + plane // 2] + slope * axes[3 * row + 2]
            distance, reach = 0.0, 0.0
            for row in range(3):
                distance += normal[row] * (positions[geom, row] - eye[row])
            for column in range(3):
                along[column] = 0.0
                for row in range(3):
                    along[column] += normal[row] * rotations[geom, 3 * row + column]
                distance += along[column] * boxes[geom, column]
                reach += abs(along[column]) * boxes[geom, 3 + column]
            if distance > reach:
                outside[geom] = True
                break
    return outside
