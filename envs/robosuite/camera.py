"""Pictures of a MuJoCo scene, without what costs time and shows nothing at small sizes."""

from __future__ import annotations

import atexit
import weakref

import numpy as np

from envs.robosuite.frustum import hidden
from envs.robosuite.headless import gl_context, mujoco

_VISIBLE_GROUP = 1  # robosuite puts what is to be seen in geom group 1 and collision shapes in group 0
_HIDDEN_GROUP = 5  # drawn by nobody
_EXPENSIVE = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
)

_open: weakref.WeakSet[Camera] = weakref.WeakSet()


class Camera:
    """Draws fixed cameras of one model as square pictures of `size` pixels.

    `plain` leaves out shadows, reflections, the skybox and multisampling. The model's off-screen buffer is
    set to the size of the pictures.

    Raises:
        UserError: there is no EGL to draw with.
    """

    def __init__(self, model: mujoco.MjModel, size: int, plain: bool = True):
        buffer = getattr(model.vis, "global_")  # noqa: B009  (pyright knows no such name)
        buffer.offwidth = buffer.offheight = size
        if plain:
            model.vis.quality.offsamples = model.vis.quality.shadowsize = 0
        self._gl = gl_context(size)
        if not _open:
            atexit.register(_close_all)  # after the context's own, so that it runs before it
        _open.add(self)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._model = model
        self._ids = {model.camera(index).name: index for index in range(model.ncam)}
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + model.nsite + 100)
        if plain:
            for flag in _EXPENSIVE:
                self._scene.flags[flag] = False
        self._option = mujoco.MjvOption()
        self._groups = model.geom_group.copy()
        self._option.sitegroup[:] = (
            0  # robosuite makes its marks invisible by a negative opacity: they cost all the same
        )
        self._option.geomgroup[:] = 0
        self._option.geomgroup[_VISIBLE_GROUP] = 1
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value
        self._perturb = mujoco.MjvPerturb()
        self._viewport = mujoco.MjrRect(0, 0, size, size)
        self._pixels = np.empty((size, size, 3), np.uint8)

    def render(self, data: mujoco.MjData, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        """A picture, uint8 [size, size, 3], from each of the named cameras; the first row is the top.

        The headlight stands at the first of them.
        """
        self._gl.make_current()
        return tuple(self._draw(data, names[0], name) for name in names)

    def close(self) -> None:
        """Free the buffers."""
        _open.discard(self)
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def _draw(self, data: mujoco.MjData, lit_from: str, name: str) -> np.ndarray:
        groups = self._model.geom_group
        groups[hidden(self._model, data, self._ids[name])] = _HIDDEN_GROUP
        self._camera.fixedcamid = self._ids[lit_from]
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            self._perturb,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        groups[:] = self._groups
        if name != lit_from:
            self._camera.fixedcamid = self._ids[name]
            mujoco.mjv_updateCamera(self._model, data, self._camera, self._scene)
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
        return self._pixels[::-1].copy()


def _close_all() -> None:
    for camera in list(_open):
        camera.close()
