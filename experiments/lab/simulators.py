"""Environments cost seconds to start: they are kept open for the next stage that needs the same."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from envs.contract import ChunkEnvs
from envs.engine import engine
from envs.rollout import RolloutPool


def worker_count(wanted: int) -> int:
    """Simulator processes: what was asked for, or one per core."""
    return engine().workers(wanted)


class Simulators:
    """A context manager that owns at most one `RolloutPool`."""

    def __init__(self) -> None:
        self._pool: RolloutPool | None = None
        self._key: Any = None

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

    def pool(self, key: Any, make: Callable[[], ChunkEnvs]) -> RolloutPool:
        """A pool over what `make` builds; the one before, if its `key` was the same and it is still open."""
        if self._pool is None or self._pool.envs.closed or key != self._key:
            self.close()
            self._pool, self._key = RolloutPool(make()), key
        return self._pool
