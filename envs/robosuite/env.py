"""A robosuite task as a Gymnasium environment: seeded, quiet, and cheap to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from envs.errors import UserError, check_choice
from envs.robosuite.camera import Camera
from envs.robosuite.controller import HandController
from envs.robosuite.headless import mujoco
from envs.robosuite.scene import WORKSPACE
from envs.robosuite.snapshot import Snapshot, read_physics, write_physics
from envs.robosuite.tasks import ROBOTS, Arrangement, task_spec
from envs.robosuite.views import PROPRIO_SIZE, STATE_SIZE, environment_state, proprioception
from envs.robosuite.world import make_world, numpy_seed

WRIST = "wrist"
ACTION_SIZE = 7  # of a hand with a gripper
CONTROL_RATE = 20.0  # steps a second, unless asked for otherwise
USUAL = Arrangement()
_CAMERA_NAMES = {WRIST: "robot0_eye_in_hand"}


class RobosuiteEnv(gymnasium.Env):
    """One robosuite task with one arm, under operational-space control of its hand.

    Observation: a dict of
        images: {camera: uint8 [size, size, 3]};
        proprio: float32 [8] and environment_state: float32 [8], see `envs.robosuite.views`.
    Cameras: "workspace" (ours, close to the table), "wrist", or any of robosuite's own by its name.
    Action: float32 [7] in [-1, 1]: displacement of the hand (1 is 5 cm), rotation of the hand (axis-angle, 1
    is 0.5 rad), both in the frame of the robot's base, and the gripper (only its sign counts, positive
    closes). Reward: 1 in a solved state, else 0.

    The same seed gives the same episode, in any process and after any other episode. `fast` uses the lean
    controller, and draws without shadows, reflections and sky, with visual meshes simplified; without it
    everything is robosuite's.

    Raises:
        UserError: unknown task, robot or camera, a bad size or horizon, an arrangement that the task's scene does not
            have, or no EGL.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_RATE}  # noqa: RUF012

    def __init__(
        self,
        task: str = "stack",
        robot: str = "Panda",
        cameras: Sequence[str] = (WORKSPACE, WRIST),
        image_size: int = 64,
        horizon: int | None = None,
        control_freq: float = CONTROL_RATE,
        terminate_on_success: bool = True,
        fast: bool = True,
        arrangement: Arrangement = USUAL,
    ):
        self.task_spec = task_spec(task).arranged(arrangement)
        check_choice("robot", robot, ROBOTS)
        if image_size < 8:
            raise UserError(f"image_size is {image_size}; pictures need at least 8 pixels")
        if horizon is not None and horizon < 1:
            raise UserError(f"horizon is {horizon}; an episode needs at least one step")
        self.task, self.robot, self.cameras, self.image_size = task, robot, tuple(cameras), image_size
        self.horizon = horizon or self.task_spec.horizon
        self.terminate_on_success = terminate_on_success
        self.fast = fast
        self.render_mode = "rgb_array"
        self.metadata = {**self.metadata, "render_fps": control_freq}
        self.robosuite = make_world(self.task_spec, robot, control_freq, fast)
        self.model: mujoco.MjModel = self.robosuite.sim.model._model
        self.data: mujoco.MjData = self.robosuite.sim.data._data
        self._camera_names = self._check_cameras()
        self._camera = Camera(self.model, image_size, plain=fast) if self.cameras else None
        self._controller: HandController | None = None
        self._seed = self._steps = 0
        picture = Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = Dict(
            {
                "images": Dict({name: picture for name in self.cameras}),
                "proprio": Box(-np.inf, np.inf, (PROPRIO_SIZE,), np.float32),
                "environment_state": Box(-np.inf, np.inf, (STATE_SIZE,), np.float32),
            }
        )
        self.action_space = Box(-1.0, 1.0, (self.robosuite.action_dim,), np.float32)

    @property
    def instruction(self) -> str:
        """The canonical instruction of the task."""
        return self.task_spec.instructions[0]

    @property
    def sim(self) -> Any:
        """robosuite's simulation (`MjSim`); the environment around it is `robosuite`."""
        return self.robosuite.sim

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the episode of `seed`, or of a seed drawn from the environment's own generator."""
        super().reset(seed=seed)
        episode_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        with numpy_seed(episode_seed):
            self.robosuite.reset()
        self._controller = HandController(self.robosuite) if self.fast else None
        self._seed, self._steps = episode_seed, 0
        return self.observe(), self._info(False)

    def snapshot(self) -> Snapshot:
        """All that the rest of the episode follows from, beside the actions."""
        assert self._controller is not None, "robosuite's own controller keeps a state of its own"
        return Snapshot(
            self._seed, self._steps, read_physics(self.model, self.data), self._controller.fingers()
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from where an environment of the same task, robot and `fast` was; what follows is the same to the bit."""
        with numpy_seed(snapshot.seed):
            self.robosuite.reset()
        self._controller = HandController(self.robosuite)
        self._controller.resume(snapshot.fingers, begun=snapshot.steps > 0)
        self._seed, self._steps = snapshot.seed, snapshot.steps
        write_physics(self.model, self.data, snapshot.physics)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Advance, then observe: observation, reward, terminated, truncated (at the horizon), info."""
        reward, success = self.advance(action)
        terminated = self.terminate_on_success and success
        return self.observe(), reward, terminated, self._steps >= self.horizon, self._info(success)

    def advance(self, action: np.ndarray) -> tuple[float, bool]:
        """Execute one action without looking: (reward, success)."""
        self._steps += 1
        if self._controller:
            self._controller.step(action)
        else:
            self.robosuite.step(action)
        success = bool(self.robosuite._check_success())
        mujoco.mj_kinematics(self.model, self.data)  # a step leaves poses one substep behind the state
        mujoco.mj_camlight(self.model, self.data)
        return float(success), success

    def observe(self) -> dict[str, Any]:
        """What is to be seen now."""
        images = self._camera.render(self.data, self._camera_names) if self._camera and self.cameras else ()
        return {
            "images": dict(zip(self.cameras, images, strict=True)),
            "proprio": proprioception(self.robosuite, self.robot),
            "environment_state": environment_state(self.robosuite, self.task),
        }

    def render(self) -> np.ndarray:
        """The workspace picture: uint8 [size, size, 3]."""
        self._camera = self._camera or Camera(self.model, self.image_size, plain=self.fast)
        return self._camera.render(self.data, (WORKSPACE,))[0]

    def close(self) -> None:
        """Free the buffers; a closed environment may be closed again."""
        if self._camera:
            self._camera.close()
            self._camera = None

    def _check_cameras(self) -> tuple[str, ...]:
        own = [self.model.camera(index).name for index in range(self.model.ncam)]
        for name in self.cameras:
            check_choice("camera", name, [*_CAMERA_NAMES, *own])
        return tuple(_CAMERA_NAMES.get(name, name) for name in self.cameras)

    def _info(self, success: bool) -> dict[str, Any]:
        return {"success": success, "instruction": self.instruction}
