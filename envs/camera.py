"""Pictures of a MuJoCo scene, without what costs time and shows nothing at small sizes."""

from __future__ import annotations

import mujoco
import numpy as np

from envs.errors import UserError

EGL_HELP = "no usable EGL to draw without a screen; run: sudo apt-get install -y libegl1 libgl1 libegl-mesa0"
_VISIBLE_GROUP = 1  # robosuite puts what is to be seen in geom group 1 and collision shapes in group 0
_EXPENSIVE = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
)


class Camera:
    """Draws fixed cameras of one model as square pictures of `size` pixels.

    `plain` leaves out shadows, reflections, the skybox and multisampling. The model's off-screen buffer is set to the
    size of the pictures.

    Raises:
        UserError: there is no EGL to draw with.
    """

    def __init__(self, model: mujoco.MjModel, size: int, plain: bool = True):
        buffer = getattr(model.vis, "global_")
        buffer.offwidth = buffer.offheight = size
        if plain:
            model.vis.quality.offsamples = 0
        try:
            self._gl = mujoco.GLContext(size, size)  # type: ignore[attr-defined]
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except (RuntimeError, ImportError, AttributeError, mujoco.FatalError) as error:
            raise UserError(EGL_HELP) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._model = model
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + model.nsite + 100)
        if plain:
            for flag in _EXPENSIVE:
                self._scene.flags[flag] = False
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[_VISIBLE_GROUP] = 1
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value
        self._perturb = mujoco.MjvPerturb()
        self._viewport = mujoco.MjrRect(0, 0, size, size)
        self._pixels = np.empty((size, size, 3), np.uint8)

    def render(self, data: mujoco.MjData, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Pictures {camera name: uint8 [size, size, 3]} of the state in `data`; the first row is the top."""
        self._gl.make_current()
        images = {}
        for name in names:
            self._camera.fixedcamid = self._model.camera(name).id
            if images:  # same state, other view
                mujoco.mjv_updateCamera(self._model, data, self._camera, self._scene)
            else:
                mujoco.mjv_updateScene(
                    self._model, data, self._option, self._perturb, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
                )
            mujoco.mjr_render(self._viewport, self._scene, self._context)
            mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
            images[name] = self._pixels[::-1].copy()
        return images

    def close(self) -> None:
        """Free the buffers."""
        self._context.free()
        self._gl.free()
