"""Robosuite's tasks in a scene that nobody resets between the episodes of a series but an expert."""

from __future__ import annotations

from envs.chunks import Shown
from envs.contract import ChunkEnvs
from envs.errors import UserError
from envs.experts.undo import Undo
from envs.robosuite.kitchen.layouts import OPPOSITES
from envs.robosuite.vector import RobosuiteScene, RobosuiteWorld, robosuite_envs


class SelfResettingWorld(RobosuiteWorld):
    """A `SelfResetting` world."""

    def begin(self, seed: int) -> Shown:
        """See `World`."""
        shown = super().begin(seed)
        self._undo = Undo(self.env, seed)
        return shown

    def go_on(self, seed: int) -> tuple[Shown, bool]:
        """See `SelfResetting`."""
        if not self._undo():
            return self.begin(seed), True
        self._steps_since = None
        return self.observe(), False


def self_resetting_envs(scene: RobosuiteScene, count: int | None = None, execute: int = 8) -> ChunkEnvs:
    """As `robosuite_envs`.

    Raises:
        UserError: also if no expert undoes the task.
    """
    check_undoable(scene.task)
    return robosuite_envs(scene, count, execute, SelfResettingWorld)


def check_undoable(task: str) -> None:
    """Refuse a task that no expert undoes.

    Raises:
        UserError: it is one.
    """
    if task not in OPPOSITES:
        raise UserError(f"reset=self: no expert undoes {task}; use one of the tasks {', '.join(OPPOSITES)}")
