"""The MuJoCo model of a task: robosuite's own, with our camera and pictures that are cheap to draw.

Simplified models (fewer triangles, smaller textures) are compiled once and kept under
`$XDG_CACHE_HOME/policy-extraction/scenes` (default `~/.cache`). Physics is untouched: only meshes that
collide with nothing are simplified, and inertias are those of the original.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import fast_simplification
import numpy as np
from PIL import Image

from envs.files import atomic_file
from envs.headless import mujoco
from envs.tasks import CameraPose

WORKSPACE = "workspace"
KEPT_FACES = 0.05
FEWEST_FACES = 300
LARGEST_TEXTURE = 256  # pixels; robosuite's take 160 MB to draw with
_AGGRESSIVENESS = 3.0  # of the collapse: gentler than fast_simplification's 7, fingers keep their shape
_WELD = 1e-5  # m: vertices nearer than this are one, split by their normals
_FINEST_CELL, _COARSEST_CELL = 1e-3, 8e-3  # m
_INERTIA = (
    "body_mass",
    "body_inertia",
    "body_ipos",
    "body_iquat",
    "body_subtreemass",
    "body_invweight0",
    "dof_invweight0",
)
_FORMAT = 4  # of the cache: raise it when the simplification changes


def load_model(xml: str, camera: CameraPose, fast: bool) -> mujoco.MjModel:
    """robosuite's scene with the workspace camera in it; `fast`: simplified, and cached."""
    if not fast:
        return _with_camera(xml, camera).compile()
    key = f"{_FORMAT} {mujoco.__version__} {KEPT_FACES} {FEWEST_FACES} {camera} {xml}"
    cached = _cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.mjb"
    if not cached.is_file():
        with atomic_file(cached) as temporary:
            mujoco.mj_saveModel(_simplified(xml, camera), str(temporary), None)
    return mujoco.MjModel.from_binary_path(str(cached))


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "policy-extraction" / "scenes"


def _with_camera(xml: str, camera: CameraPose) -> mujoco.MjSpec:
    spec = mujoco.MjSpec.from_string(xml)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, camera.rotation().ravel())
    spec.worldbody.add_camera(name=WORKSPACE, pos=camera.position, quat=quaternion, fovy=camera.fovy)
    for mesh in spec.meshes:
        if "_head_" in mesh.name:  # MuJoCo refuses the volume of some thin visual meshes of Sawyer's head
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    return spec


def _simplified(xml: str, camera: CameraPose) -> mujoco.MjModel:
    original = _with_camera(xml, camera).compile()
    spec = _with_camera(xml, camera)  # anew: a compiled one holds on to the normals of its meshes
    for index in _simplifiable(original):
        vertices, faces = _decimate(*_mesh(original, index))
        mesh = spec.mesh(original.mesh(index).name)
        mesh.file = ""
        mesh.scale, mesh.refpos, mesh.refquat = [1, 1, 1], [0, 0, 0], [1, 0, 0, 0]
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        mesh.uservert, mesh.userface = vertices.ravel(), faces.ravel()
    for index, texture in enumerate(spec.textures):
        if texture.file:
            _shrink(texture, original, index)
    model = spec.compile()
    for name in _INERTIA:
        getattr(model, name)[:] = getattr(original, name)
    return model


def _shrink(texture: mujoco.MjsTexture, model: mujoco.MjModel, index: int) -> None:
    """Give a texture no more pixels than pictures of a few hundred pixels can show."""
    width, height, channels = (
        int(sizes[index]) for sizes in (model.tex_width, model.tex_height, model.tex_nchannel)
    )
    start = model.tex_adr[index]
    pixels = model.tex_data[start : start + width * height * channels].reshape(height, width, channels)
    scale = min(1.0, LARGEST_TEXTURE / max(width, height))
    texture.width, texture.height = round(width * scale), round(height * scale)
    image = Image.fromarray(pixels).resize((texture.width, texture.height), Image.Resampling.BOX)
    texture.nchannel, texture.data, texture.file = channels, image.tobytes(), ""
    texture.colorspace = mujoco.mjtColorSpace(model.tex_colorspace[index])  # the file may have said it


def _simplifiable(model: mujoco.MjModel) -> list[int]:
    """Meshes that only untextured geoms which collide with nothing use."""
    is_mesh = model.geom_type == mujoco.mjtGeom.mjGEOM_MESH
    collides = (model.geom_contype | model.geom_conaffinity) != 0
    texture = np.append(model.mat_texid.max(axis=1), -1)[model.geom_matid]
    kept = set(model.geom_dataid[is_mesh & (collides | (texture >= 0))])
    drawn = set(model.geom_dataid[is_mesh])
    return sorted(int(index) for index in drawn - kept if model.mesh_facenum[index] > FEWEST_FACES)


def _mesh(model: mujoco.MjModel, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float64 [V, 3], in the frame that its geoms place, and faces int32 [F, 3] of a mesh."""
    first, count = model.mesh_vertadr[index], model.mesh_vertnum[index]
    first_face, faces = model.mesh_faceadr[index], model.mesh_facenum[index]
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.mesh_quat[index])
    vertices = model.mesh_vert[first : first + count] @ rotation.reshape(3, 3).T + model.mesh_pos[index]
    return vertices, model.mesh_face[first_face : first_face + faces]


def _decimate(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collapse edges until few faces are left; what is all loose pieces is then snapped to a grid."""
    vertices, faces = _snap(vertices, faces, _WELD)
    target = max(int(KEPT_FACES * len(faces)), FEWEST_FACES)
    if target < len(faces):
        vertices, faces = fast_simplification.simplify(
            vertices.astype(np.float32), faces.astype(np.int32), target_count=target, agg=_AGGRESSIVENESS
        )
    cell = _FINEST_CELL
    while len(faces) > 2 * target and cell <= _COARSEST_CELL:
        vertices, faces = _snap(vertices, faces, cell)
        cell *= 2
    return vertices.astype(np.float64), faces.astype(np.int32)


def _snap(vertices: np.ndarray, faces: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """Merge the vertices of each grid cell (`cell` metres) and drop faces without an area or seen before."""
    _, first, cells = np.unique(np.round(vertices / cell), axis=0, return_index=True, return_inverse=True)
    faces = cells.ravel()[faces]
    solid = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = faces[solid]
    _, distinct = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return vertices[first], faces[np.sort(distinct)]
