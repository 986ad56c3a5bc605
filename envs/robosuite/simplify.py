"""A MuJoCo scene that is cheaper to draw and moves as before: fewer triangles and pieces, smaller textures.

Only what collides with nothing is touched, and inertias are put back to those of the original.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import fast_simplification
import numpy as np
from PIL import Image

from envs.robosuite.headless import mujoco

KEPT_FACES = 0.05
FEWEST_FACES = 300
LARGEST_TEXTURE = 256  # pixels; robosuite's take 160 MB to draw with
_VISIBLE_GROUP = 1  # robosuite's geom group of what is to be seen
_HIDDEN_GROUP = 5
_AGGRESSIVENESS = 3.0  # of the collapse: gentler than fast_simplification's 7, fingers keep their shape
_WELD = 1e-5  # m: vertices nearer than this are one, split by their normals
_TORN = 0.2  # border edges, as a fraction, from which on a collapse tears the mesh
_CELL = 0.016  # of the grid, as a fraction of the diagonal of the mesh
_LOOK = ("rgba", "specular", "shininess", "emission", "reflectance", "metallic", "roughness")
_INERTIA = (
    "body_mass",
    "body_inertia",
    "body_ipos",
    "body_iquat",
    "body_subtreemass",
    "body_invweight0",
    "dof_invweight0",
)


def simplified(read: Callable[[], mujoco.MjSpec]) -> mujoco.MjModel:
    """The model of the scene that `read` reads, simplified.

    The visual meshes of a body that share a material become one mesh of about 5 % of the triangles, in the
    first one's geom; the geoms of the others stay by name, out of sight.
    """
    original = read().compile()
    spec = read()  # anew: a compiled one holds on to the normals of its meshes
    for geoms in _pieces(original):
        _merge(spec, original, geoms)
    used = {geom.meshname for geom in spec.geoms}
    for mesh in [mesh for mesh in spec.meshes if mesh.name not in used]:
        spec.delete(mesh)
    for index, texture in enumerate(spec.textures):
        if texture.file:
            _shrink(texture, original, index)
    model = spec.compile()
    for name in _INERTIA:
        getattr(model, name)[:] = getattr(original, name)
    return model


def _pieces(model: mujoco.MjModel) -> list[list[int]]:
    """Visible, untextured mesh geoms that collide with nothing, grouped by body and look."""
    textured = np.append(model.mat_texid.max(axis=1) >= 0, False)[model.geom_matid]
    merges = (
        (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH)
        & (model.geom_group == _VISIBLE_GROUP)
        & ((model.geom_contype | model.geom_conaffinity) == 0)
        & ~textured
    )
    groups = defaultdict(list)
    for geom in np.flatnonzero(merges):
        material = model.geom_matid[geom]
        look = [model.geom_bodyid[geom], *model.geom_rgba[geom]]
        if material >= 0:
            look += [value for name in _LOOK for value in np.ravel(getattr(model, f"mat_{name}")[material])]
        groups[tuple(look)].append(int(geom))
    return list(groups.values())


def _merge(spec: mujoco.MjSpec, model: mujoco.MjModel, geoms: list[int]) -> None:
    parts = [decimate(*_mesh_in_body(model, geom)) for geom in geoms]
    offsets = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
    first, *others = (spec.geom(model.geom(geom).name) for geom in geoms)
    mesh = spec.add_mesh(name=f"{first.name}_simplified", inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    mesh.uservert = np.concatenate([vertices for vertices, _ in parts]).ravel()
    mesh.userface = np.concatenate([f + start for (_, f), start in zip(parts, offsets, strict=False)]).ravel()
    first.meshname, first.pos, first.quat = mesh.name, np.zeros(3), np.array([1.0, 0, 0, 0])
    for other in others:
        other.type, other.meshname, other.group = mujoco.mjtGeom.mjGEOM_SPHERE, "", _HIDDEN_GROUP
        other.size = np.full(3, 1e-4)


def _mesh_in_body(model: mujoco.MjModel, geom: int) -> tuple[np.ndarray, np.ndarray]:
    """A geom's mesh in the frame of its body: vertices float64 [V, 3] and faces int32 [F, 3]."""
    mesh = model.geom_dataid[geom]
    vertices = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
    faces = model.mesh_face[model.mesh_faceadr[mesh] :][: model.mesh_facenum[mesh]]
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    return vertices @ rotation.reshape(3, 3).T + model.geom_pos[geom], faces


def decimate(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collapse edges until few faces are left; where that stops early or would tear the mesh, snap to a grid.

    vertices: float [V, 3], metres; faces: int [F, 3], indices of vertices; fewer of both are returned.
    """
    vertices, faces = _snap(vertices, faces, _WELD)
    target = max(int(KEPT_FACES * len(faces)), FEWEST_FACES)
    fewer, left = vertices, faces
    if len(faces) > target and _border(faces) < _TORN:
        fewer, left = fast_simplification.simplify(
            vertices.astype(np.float32), faces.astype(np.int32), target_count=target, agg=_AGGRESSIVENESS
        )
    if len(left) > 2 * target:
        snapped = _snap(vertices, faces, _CELL * float(np.linalg.norm(np.ptp(vertices, axis=0))))
        fewer, left = min((fewer, left), snapped, key=lambda mesh: len(mesh[1]))
    return fewer.astype(np.float64), left.astype(np.int32)


def _border(faces: np.ndarray) -> float:
    """The fraction of edges that belong to one face only."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return float(np.mean(np.unique(edges, axis=0, return_counts=True)[1] == 1))


def _snap(vertices: np.ndarray, faces: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """Merge the vertices of each grid cell (`cell` metres) and drop faces without an area or seen before."""
    _, first, cells = np.unique(np.round(vertices / cell), axis=0, return_index=True, return_inverse=True)
    faces = cells.ravel()[faces]
    solid = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = faces[solid]
    _, distinct = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return vertices[first], faces[np.sort(distinct)]


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
