"""robosuite's tasks as a `ChunkEnvs`: many simulators, each in its own process, drawn once a chunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from envs.chunks import Shown
from envs.contract import ChunkEnvs, EnvSpec
from envs.engine import engine
from envs.errors import check_choice
from envs.robosuite.env import ACTION_SIZE, CONTROL_RATE, PROPRIO_SIZE, STATE_SIZE, RobosuiteEnv
from envs.robosuite.scene import WORKSPACE
from envs.robosuite.tasks import ROBOTS, Arrangement, task_spec


@dataclass(frozen=True)
class RobosuiteScene:
    """Which simulator.

    linger: control steps that an episode goes on after the task is solved, so that a film shows it done; layout,
    distractors: see `Arrangement`; instruction: see `TaskSpec.told`; the others as in `RobosuiteEnv`.
    """

    task: str = "stack"
    robot: str = "Panda"
    cameras: tuple[str, ...] = (WORKSPACE, "wrist")
    image_size: int = 64
    horizon: int | None = None
    linger: int = 0
    layout: int = 0
    distractors: int = 0
    instruction: str = ""

    def __post_init__(self) -> None:
        task = task_spec(self.task).arranged(self.arrangement)
        task.told(self.instruction)
        check_choice("robot", self.robot, ROBOTS)

    @property
    def arrangement(self) -> Arrangement:
        """How the scene is set up."""
        return Arrangement(self.layout, self.distractors)

    def spec(self) -> EnvSpec:
        """What it shows and takes; no simulator is built."""
        task = task_spec(self.task)
        return EnvSpec(
            cameras={name: (self.image_size, self.image_size) for name in self.cameras},
            proprio_dim=PROPRIO_SIZE,
            action_low=(-1.0,) * ACTION_SIZE,
            action_high=(1.0,) * ACTION_SIZE,
            control_rate=CONTROL_RATE,
            horizon=self.horizon or task.horizon,
            instruction=task.told(self.instruction),
            state_dim=STATE_SIZE,
        )


class RobosuiteWorld:
    """A `World`: one `RobosuiteEnv`, solved once its state was, and over `linger` steps later."""

    def __init__(self, scene: RobosuiteScene) -> None:
        self.env = RobosuiteEnv(
            scene.task,
            scene.robot,
            scene.cameras,
            scene.image_size,
            scene.horizon,
            arrangement=scene.arrangement,
        )
        self._linger = scene.linger
        self._steps_since: int | None = None  # solved; None: not yet

    def begin(self, seed: int) -> Shown:
        """See `World`."""
        self._steps_since = None
        return self.env.reset(seed=seed)[0]

    def advance(self, action: np.ndarray) -> tuple[float, bool | None, bool]:
        """See `World`."""
        reward, solved = self.env.advance(action)
        if self._steps_since is not None:
            self._steps_since += 1
        elif solved:
            self._steps_since = 0
        return reward, self._steps_since is not None, self._steps_since == self._linger

    def observe(self) -> Shown:
        """See `World`."""
        return self.env.observe()

    def close(self) -> None:
        """See `World`."""
        self.env.close()


def robosuite_envs(
    scene: RobosuiteScene,
    count: int | None = None,
    execute: int = 8,
    world: Callable[[RobosuiteScene], RobosuiteWorld] = RobosuiteWorld,
) -> ChunkEnvs:
    """`count` (default: one a CPU core) simulators, each a `world` in a process of its own, on the engine at hand.

    Raises:
        UserError: an unknown camera, a bad size, fewer than one simulator or action, or no EGL.
    """
    workers = engine().workers(0) if count is None else count
    make = partial(world, scene)
    return engine().envs(make, scene.spec(), workers, execute, preload=("envs.robosuite.preload",))
