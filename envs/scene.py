"""The MuJoCo model of a task: robosuite's own, with our camera in it."""

from __future__ import annotations

import mujoco
import numpy as np

from envs.tasks import CameraPose

WORKSPACE = "workspace"


def build_model(xml: str, camera: CameraPose, image_size: int, fast: bool) -> mujoco.MjModel:
    """Compile robosuite's scene with the workspace camera and an off-screen buffer of the pictures' size."""
    spec = mujoco.MjSpec.from_string(xml)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, camera.rotation().ravel())
    spec.worldbody.add_camera(name=WORKSPACE, pos=camera.position, quat=quaternion, fovy=camera.fovy)
    visual = getattr(spec.visual, "global_")
    visual.offwidth = visual.offheight = image_size
    if fast:
        spec.visual.quality.offsamples = 0
    for mesh in spec.meshes:  # newer MuJoCo refuses thin visual meshes whose volume it cannot tell (Sawyer's head)
        if "_head_" in mesh.name:
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    return spec.compile()
