"""A scene brought back by an expert of the opposite task, as on a robot that nobody resets (AutoEval, arXiv 2503.24278)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from envs.experts.arm import OPEN, Arm
from envs.experts.demonstrate import act_out
from envs.experts.habits import UP
from envs.experts.plan import draw_plan
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.kitchen.layouts import OPPOSITES
from envs.types import Segment

ATTEMPTS = 3  # before a scene counts as lost
OPEN_STEPS = 10
RISE = 0.08  # metres before the hand goes anywhere
HOME = 0.01  # metres from where it began the hand is at home


class Undo:
    """Brings the scene of `env` back to where its task can begin; called when an episode is over.

    It is made where the episode of `seed` begins: what its experts draw depends on that seed and on how often it was
    called.
    """

    def __init__(self, env: RobosuiteEnv, seed: int) -> None:
        self._env, self._seed, self._plans = env, seed, 0
        arm = self._arm()
        self._home, self._level = arm.position, arm.rotation

    def __call__(self) -> bool:
        """Act until the opposite task is solved and the hand is at home; False if that did not work."""
        for _ in range(ATTEMPTS):
            at_home = self._go_home()
            if self._ready():
                return at_home
            self._try()
        return self._go_home() and self._ready()

    def _ready(self) -> bool:
        return self._env.robosuite.solved(OPPOSITES[self._env.task])

    def _try(self) -> None:
        self._plans += 1
        seed = int(np.random.SeedSequence((self._seed, self._plans)).generate_state(1)[0])
        plan, rng = draw_plan("clean", seed, (), ())
        with self._opposite() as task:
            act_out(task, Arm(_Silent(self._env), rng, plan.speed, plan.noise), plan)

    def _go_home(self) -> bool:
        arm = self._arm()
        arm.hold(OPEN_STEPS, OPEN)
        arm.reach(arm.position + RISE * UP, arm.rotation, OPEN, HOME, 20)
        return arm.reach(self._home, self._level, OPEN, HOME)

    def _arm(self) -> Arm:
        return Arm(_Silent(self._env), np.random.default_rng(0), speed=1.0, noise=0.0)

    @contextmanager
    def _opposite(self) -> Iterator[str]:
        scene = self._env.robosuite
        scene.task = OPPOSITES[self._env.task]
        try:
            yield scene.task
        finally:
            scene.task = self._env.task


class _Silent:
    """What an `Arm` acts through, where nothing is recorded."""

    def __init__(self, env: RobosuiteEnv) -> None:
        self.env, self.segments, self.solved, self._steps = env, list[Segment](), False, 0

    def __len__(self) -> int:
        return self._steps

    def step(self, action: np.ndarray) -> None:
        self._steps += 1
        _, self.solved = self.env.advance(action)
