"""The MuJoCo model of a task: robosuite's own, with our camera in it.

Simplified models are compiled once and kept under `$XDG_CACHE_HOME/policy-extraction/scenes` (default
`~/.cache`).
"""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

import numpy as np

from envs.files import atomic_file
from envs.robosuite.headless import mujoco
from envs.robosuite.simplify import simplified
from envs.robosuite.tasks import CameraPose

WORKSPACE = "workspace"
_MULTICCD = int(getattr(mujoco.mjtDisableBit, "mjDSBL_MULTICCD", 0))  # on since 3.8; it jams UR5e's fingers
_SAWYER_BASE = ("robot0_right_arm_base_link", "robot0_right_l0")
_FORMAT = 12  # of the cache: raise it when the simplification changes


def load_model(xml: str, camera: CameraPose, fast: bool) -> mujoco.MjModel:
    """robosuite's scene with the workspace camera in it; `fast`: simplified, and cached."""
    if not fast:
        return _read(xml, camera).compile()
    key = f"{_FORMAT} {mujoco.__version__} {camera} {xml}"
    cached = _cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.mjb"
    if not cached.is_file():
        with atomic_file(cached) as temporary:
            mujoco.mj_saveModel(simplified(partial(_read, xml, camera)), str(temporary), None)
    return mujoco.MjModel.from_binary_path(str(cached))


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "policy-extraction" / "scenes"


def _read(xml: str, camera: CameraPose) -> mujoco.MjSpec:
    spec = mujoco.MjSpec.from_string(xml)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, camera.rotation().ravel())
    spec.worldbody.add_camera(name=WORKSPACE, pos=camera.position, quat=quaternion, fovy=camera.fovy)
    for mesh in spec.meshes:
        if "_head_" in mesh.name:  # MuJoCo refuses the volume of some thin visual meshes of Sawyer's head
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    spec.option.disableflags |= _MULTICCD
    if spec.body(_SAWYER_BASE[0]) is not None:  # touching shapes, whose friction would brake the first joint
        spec.add_exclude(bodyname1=_SAWYER_BASE[0], bodyname2=_SAWYER_BASE[1])
    return spec
