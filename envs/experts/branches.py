"""Episodes that begin in the midst of a demonstration: a seed draws one, and the moment that it is left at.

The same seed gives the same state to the bit, in any process, so that different actions can be compared from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from envs.chunks import Shown
from envs.contract import ChunkEnvs
from envs.engine import engine
from envs.errors import UserError, check_choice
from envs.experts.demonstrate import demonstrate
from envs.experts.phases import PHASES, Phase, phases, phases_of
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.snapshot import Snapshot
from envs.robosuite.vector import RobosuiteScene
from envs.types import STYLES

MOST_DRAWS = 64  # demonstrations that are drawn before a task counts as one without the phase
FIRST = 2  # frames that an episode has behind it at least


@dataclass(frozen=True)
class Branching:
    """Where episodes begin.

    phases: the parts of the task, each as often; empty: all of them; styles: of the demonstrations, each as often.
    """

    phases: tuple[str, ...] = ()
    styles: tuple[str, ...] = STYLES

    def __post_init__(self) -> None:
        for name in self.phases:
            check_choice("phase", name, PHASES)
        for style in self.styles:
            check_choice("style", style, STYLES)
        if not self.styles:
            raise UserError("branches need demonstrations of at least one style")


@dataclass(frozen=True)
class BranchPoint:
    """A moment of a demonstration that is not solved yet.

    seed, actions: of its episode, whose actions [L, A] lead there; style: of the demonstration; phase: where it is;
    first: float32 [S], the state that the episode began with.
    """

    seed: int
    actions: np.ndarray
    style: str
    phase: Phase
    first: np.ndarray


def draw_branch(env: RobosuiteEnv, seed: int, branching: Branching) -> BranchPoint:
    """The moment that a seed draws: a phase of the task, a demonstration that has it, and a frame of that phase.

    Args:
        env: where it is demonstrated; it needs no cameras.

    Raises:
        UserError: the task has none of the phases.
    """
    random = np.random.default_rng(seed)
    wanted = [PHASES.index(name) for name in branching.phases or phases_of(env, seed)]
    phase = wanted[random.integers(len(wanted))]
    base = np.array(env.robosuite.robots[0].base_pos)
    for _ in range(MOST_DRAWS):
        style = branching.styles[random.integers(len(branching.styles))]
        episode = demonstrate(env, style, seed)
        solved = np.flatnonzero(episode.rewards > 0)
        there = np.flatnonzero(phases(episode, base)[: solved[0] if len(solved) else None] == phase)
        there = there[there >= FIRST]
        if len(there):
            frame = int(random.choice(there))
            first = episode.environment_state[0]
            return BranchPoint(seed, episode.actions[:frame], style, PHASES[phase], first)
    raise UserError(
        f"no demonstration of {env.task} in the styles {', '.join(branching.styles)} has the phase {PHASES[phase]}; "
        "leave it out, or name other styles"
    )


class BranchWorld:
    """A `World`: robosuite, begun in the midst of a demonstration and over once the task is solved."""

    def __init__(self, scene: RobosuiteScene, branching: Branching) -> None:
        self._env = RobosuiteEnv(scene.task, scene.robot, scene.cameras, scene.image_size, scene.horizon)
        self._blind = RobosuiteEnv(scene.task, scene.robot, ())
        self._branching = branching
        self._drawn: Snapshot | None = None  # what the last seed drew: a group begins there again and again

    def begin(self, seed: int) -> Shown:
        """See `World`."""
        if self._drawn is None or self._drawn.seed != seed:
            point = draw_branch(self._blind, seed, self._branching)
            self._drawn = reached(self._blind, point)
        self._env.restore(self._drawn)
        return self._env.observe()

    def advance(self, action: np.ndarray) -> tuple[float, bool | None, bool]:
        """See `World`."""
        reward, solved = self._env.advance(action)
        return reward, solved, solved

    def observe(self) -> Shown:
        """See `World`."""
        return self._env.observe()

    def close(self) -> None:
        """See `World`."""
        self._env.close()
        self._blind.close()


def reached(env: RobosuiteEnv, point: BranchPoint) -> Snapshot:
    """The simulator where a demonstration was at that moment."""
    env.reset(seed=point.seed)
    for action in point.actions:
        env.advance(action)
    return env.snapshot()


def branch_envs(scene: RobosuiteScene, branching: Branching, count: int, execute: int) -> ChunkEnvs:
    """`count` simulators in processes of their own, whose episodes begin as `branching` says.

    Raises:
        UserError: see `envs.robosuite.vector.robosuite_envs`.
    """
    make = partial(BranchWorld, scene, branching)
    return engine().envs(
        make, scene.spec(), count, execute, preload=("envs.robosuite.preload", "envs.experts.branches")
    )
