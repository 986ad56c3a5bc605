"""Simulator processes cost seconds to start: they are kept open for the next stage that needs the same."""

from __future__ import annotations

import os
from types import TracebackType

from envs.robosuite.tasks import task_spec
from envs.rollout import RolloutPool
from experiments.settings.config import EvaluateConfig, TaskConfig


def worker_count(config: EvaluateConfig) -> int:
    """Simulator processes: what was asked for, or one per core."""
    return config.workers or os.cpu_count() or 1


def horizon_of(task: TaskConfig, config: EvaluateConfig) -> int:
    """Control steps within which success counts: what was asked for, or the task's own."""
    return config.horizon or task_spec(task.name).horizon


class Simulators:
    """A context manager that owns at most one `RolloutPool`."""

    def __init__(self) -> None:
        self._pool: RolloutPool | None = None
        self._settings: tuple[object, ...] = ()

    def __enter__(self) -> Simulators:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def pool(
        self, task: TaskConfig, workers: int, execute: int, horizon: int, frame_every: int = 0
    ) -> RolloutPool:
        """A pool with these settings; the one before, if they are the same."""
        settings = (task, workers, execute, horizon, frame_every)
        if self._pool is None or settings != self._settings:
            self.close()
            self._pool = RolloutPool(
                task.name,
                task.robot,
                workers,
                execute,
                horizon,
                image_size=task.image_size,
                frame_every=frame_every,
            )
            self._settings = settings
        return self._pool
