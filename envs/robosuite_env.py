"""A robosuite task as a Gymnasium environment: seeded, quiet, and cheap to draw."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")  # before mujoco is imported

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box, Dict

from envs.camera import Camera
from envs.errors import UserError
from envs.scene import WORKSPACE, load_model
from envs.tasks import ROBOTS, check_choice, task_spec

logging.getLogger("robosuite_logs").addFilter(lambda record: record.levelno >= logging.ERROR)

import robosuite.environments.base as robosuite_base  # noqa: E402
from robosuite.models.robots.robot_model import RobotModel  # noqa: E402
from robosuite.utils.binding_utils import MjSim  # noqa: E402

from envs.controller import HandController  # noqa: E402

import robosuite  # noqa: E402, F401  (registers its environments)

WRIST = "wrist"
_CAMERA_NAMES = {WRIST: "robot0_eye_in_hand"}
_GRIPPERS = {"Panda": (0.04, 0.0), "Sawyer": (0.0208, -0.0115), "UR5e": (0.0, 0.8)}  # first joint: open, closed
PROPRIO_SIZE = 8
STATE_SIZE = 8


class RobosuiteEnv(gymnasium.Env):
    """One robosuite task with one arm, under operational-space control of its hand.

    Observation: a dict of
        images: {camera: uint8 [size, size, 3]};
        proprio: float32 [8], in the frame of the robot's base: position of the hand (metres, 3), its orientation as a
            quaternion (w, x, y, z) with x + y >= 0 (near (0, .7, .7, 0) at rest: the hand points down), opening of the gripper
            from 0 (closed) to 1;
        environment_state: float32 [8], privileged, in the world frame: position of the task's object (3), position of
            its target (3), cosine and sine of the object's yaw. The target is where the object has to go: the cube
            below, the bin, the peg, the height to lift to, the place of the handle once the door is open.
    Action: float32 [7] in [-1, 1]: displacement of the hand (1 is 5 cm), rotation of the hand (axis-angle, 1 is 0.5 rad),
    both in the frame of the robot's base, and the gripper (only its sign counts, positive closes).
    Reward: 1 in a solved state, else 0.

    The same seed gives the same episode, in any process and after any other episode. `fast` uses the lean controller,
    and draws without shadows, reflections and sky, with visual meshes simplified; without it everything is robosuite's.

    Raises:
        UserError: unknown task, robot or camera, a bad size, or no EGL.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        task: str = "stack",
        robot: str = "Panda",
        cameras: Sequence[str] = (WORKSPACE, WRIST),
        image_size: int = 64,
        horizon: int | None = None,
        control_freq: int = 20,
        terminate_on_success: bool = True,
        fast: bool = True,
    ):
        self.spec_of_task = task_spec(task)
        check_choice("robot", robot, ROBOTS)
        if image_size < 8:
            raise UserError(f"image_size is {image_size}; pictures need at least 8 pixels")
        self.task, self.robot, self.cameras, self.image_size = task, robot, tuple(cameras), image_size
        self.horizon = horizon or self.spec_of_task.horizon
        self.terminate_on_success = terminate_on_success
        self.fast = fast
        self.render_mode = "rgb_array"
        self.metadata = {**self.metadata, "render_fps": control_freq}
        with _numpy_seed(0):  # sizes of objects are drawn when they are made
            self.robosuite = _make(self.spec_of_task, robot, control_freq, fast)
        self.model: mujoco.MjModel = self.robosuite.sim.model._model
        self.data: mujoco.MjData = self.robosuite.sim.data._data
        self._camera_names = self._check_cameras(self.cameras)
        self._camera = Camera(self.model, image_size, plain=fast) if self.cameras else None
        self._controller: HandController | None = None
        self._steps = 0
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
        return self.spec_of_task.instructions[0]

    @property
    def sim(self) -> MjSim:
        """robosuite's simulation."""
        return self.robosuite.sim

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Start the episode of `seed`, or of a seed drawn from the environment's own generator."""
        super().reset(seed=seed)
        episode_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        with _numpy_seed(episode_seed):
            self.robosuite.reset()
        self._controller = HandController(self.robosuite) if self.fast else None
        self._steps = 0
        return self.observe(), {"success": False, "instruction": self.instruction}

    def step(self, action: np.ndarray):
        """Advance, then observe."""
        reward, success = self.advance(action)
        return (
            self.observe(),
            reward,
            self.terminate_on_success and success,
            self._steps >= self.horizon,
            {"success": success, "instruction": self.instruction},
        )

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
        images = self._camera.render(self.data, self._camera_names) if self._camera else {}
        return {
            "images": dict(zip(self.cameras, images.values(), strict=True)),
            "proprio": self._proprio(),
            "environment_state": self._environment_state(),
        }

    def render(self) -> np.ndarray:
        """The workspace picture: uint8 [size, size, 3]."""
        self._camera = self._camera or Camera(self.model, self.image_size, plain=self.fast)
        return self._camera.render(self.data, (WORKSPACE,))[WORKSPACE]

    def close(self) -> None:
        """Free the buffers; a closed environment may be closed again."""
        if self._camera:
            self._camera.close()
            self._camera = None

    def _check_cameras(self, cameras: tuple[str, ...]) -> tuple[str, ...]:
        own = {self.model.camera(index).name for index in range(self.model.ncam)}
        for name in cameras:
            check_choice("camera", name, sorted(own | set(_CAMERA_NAMES)))
        return tuple(_CAMERA_NAMES.get(name, name) for name in cameras)

    def _proprio(self) -> np.ndarray:
        arm = self.robosuite.robots[0]
        site = arm.eef_site_id["right"]
        base = self.data.body(arm.robot_model.root_body)
        rotation = base.xmat.reshape(3, 3).T
        position = rotation @ (self.data.site_xpos[site] - base.xpos)
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, (rotation @ self.data.site_xmat[site].reshape(3, 3)).ravel())
        if quaternion[1] + quaternion[2] < 0:
            quaternion = -quaternion
        opened, closed = _GRIPPERS[self.robot]
        joint = self.data.qpos[arm._ref_gripper_joint_pos_indexes["right"][0]]
        opening = np.clip((joint - closed) / (opened - closed), 0.0, 1.0)
        return np.concatenate([position, quaternion, [opening]]).astype(np.float32)

    def _environment_state(self) -> np.ndarray:
        world, data = self.robosuite, self.data
        if self.task == "lift":
            body = world.cube_body_id
            position = data.xpos[body]
            target = np.array([position[0], position[1], world.model.mujoco_arena.table_offset[2] + 0.04])
        elif self.task == "stack":
            body = world.cubeA_body_id
            position, target = data.xpos[body], data.xpos[world.cubeB_body_id]
        elif self.task == "door":
            body = self.model.jnt_bodyid[self.model.joint(world.door.joints[0]).id]
            position = data.site_xpos[world.door_handle_site_id]
            joint = self.model.joint(world.door.joints[0]).id
            anchor, axis = data.xanchor[joint], data.xaxis[joint]
            turn = np.empty(4)
            mujoco.mju_axisAngle2Quat(turn, axis, 0.3 - data.qpos[world.hinge_qpos_addr])
            arm = np.empty(3)
            mujoco.mju_rotVecQuat(arm, position - anchor, turn)
            target = anchor + arm
        elif self.task == "nut_square":
            body = world.obj_body_id[world.obj_to_use]
            position, target = data.xpos[body], data.xpos[world.peg1_body_id]
        else:
            body = world.obj_body_id[world.obj_to_use]
            position, target = data.xpos[body], world.target_bin_placements[world.object_id]
        cosine, _, _, sine = data.xmat[body][:4]
        yaw = np.array([cosine, sine]) / max(np.hypot(cosine, sine), 1e-9)
        return np.concatenate([position, target, yaw]).astype(np.float32)


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """numpy's global generator, which robosuite draws from, seeded for the block and put back after it."""
    before = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(before)


def _make(spec, robot: str, control_freq: int, fast: bool):
    base = robosuite_base.REGISTERED_ENVS[spec.env_name]

    class Scene(base):
        """The task's environment, on a model that we compile."""

        def _initialize_sim(self, xml_string=None):
            xml = self.edit_model_xml(xml_string or self.model.get_xml())
            self.sim = MjSim(load_model(xml, spec.camera, fast))
            self.sim.forward()
            self.initialize_time(self.control_freq)

    compile_robot = RobotModel.set_mujoco_model
    RobotModel.set_mujoco_model = lambda self: None  # a compiled robot on its own, which only whole-body IK reads
    try:
        return Scene(
            robots=robot,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            hard_reset=False,
            ignore_done=True,
            renderer="mujoco",
            control_freq=control_freq,
            **spec.env_kwargs,
        )
    finally:
        RobotModel.set_mujoco_model = compile_robot
