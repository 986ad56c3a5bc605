"""How much faster our environment steps than stock robosuite: same task, camera, picture size and actions."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.headless import mujoco
from envs.robosuite.scene import WORKSPACE
from envs.robosuite.tasks import TaskSpec, task_spec
from envs.robosuite.world import quiet_robosuite

_BLOCK = 10  # steps of one before it is the other's turn
_STOCK_CAMERA = "agentview"  # moved to where our workspace camera stands


def measure_rollout(
    task: str = "stack", robot: str = "Panda", image_size: int = 64, steps: int = 100
) -> dict[str, float]:
    """Frames a second with one camera, of stock robosuite and of ours, in one process, and their ratio.

    Each frame is a control step under a random action and its picture; resets are left out. The two take
    turns in blocks of steps; the median block counts, so that what else runs on the machine disturbs little.

    Raises:
        UserError: unknown task or robot, too few steps, or a robot that stock robosuite cannot build.
    """
    if steps < 2 * _BLOCK:
        raise UserError(f"steps is {steps}; measure at least {2 * _BLOCK}")
    ours = RobosuiteEnv(task, robot, (WORKSPACE,), image_size, terminate_on_success=False)
    stock = _stock(task_spec(task), robot, image_size)
    ours.reset(seed=0)
    stock.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 7)).astype(np.float32)
    seconds: dict[str, list[float]] = {"stock": [], "ours": []}
    for first in range(0, steps - _BLOCK + 1, _BLOCK):
        stock.sim._render_context_offscreen.gl_ctx.make_current()
        for name, step in (("stock", stock.step), ("ours", ours.step)):
            start = time.perf_counter()
            for action in actions[first : first + _BLOCK]:
                step(action)
            seconds[name].append(time.perf_counter() - start)
    ours.close()
    stock.close()
    fps = {
        name: _BLOCK / float(np.median(blocks[1:])) for name, blocks in seconds.items()
    }  # the first: warm-up
    return {"stock_fps": fps["stock"], "fps": fps["ours"], "ratio": fps["ours"] / fps["stock"]}


def _stock(spec: TaskSpec, robot: str, image_size: int) -> Any:
    """robosuite as it is, its own camera moved to our workspace view."""
    robosuite = quiet_robosuite()
    try:
        world = robosuite.make(
            spec.env_name,
            robots=robot,
            has_renderer=False,
            use_camera_obs=True,
            camera_names=_STOCK_CAMERA,
            camera_heights=image_size,
            camera_widths=image_size,
            hard_reset=False,
            ignore_done=True,
            **spec.env_kwargs,
        )
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"stock robosuite cannot build {robot} ({reason}); measure another robot") from error
    model, camera = world.sim.model, world.sim.model.camera_name2id(_STOCK_CAMERA)
    mujoco.mju_mat2Quat(model.cam_quat[camera], spec.camera.rotation().ravel())
    model.cam_pos[camera] = spec.camera.position
    model.cam_fovy[camera] = spec.camera.fovy
    return world
