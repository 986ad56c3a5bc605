"""Where worlds and jobs run: in processes of this machine, unless a block says otherwise (`running_on`).

What is made depends on seeds alone, never on the engine or on how many workers it has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, runtime_checkable

from envs.chunks import ProcessEnvs, World
from envs.contract import ChunkEnvs, EnvSpec
from envs.processes import worker_pool


@runtime_checkable
class Job(Protocol):
    """A call that somebody else makes."""

    def result(self) -> Any:
        """What it gave; raises what it raised."""
        ...


@runtime_checkable
class Jobs(Protocol):
    """Takes calls of functions that can be imported, with arguments that can be pickled."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Job:
        """Begin a call."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Runs worlds and jobs. spreads: whether jobs may go to other machines, with accelerators of their own."""

    spreads: bool

    def workers(self, wanted: int) -> int:
        """How many processes: what was asked for, or for 0 as many as it has cores."""
        ...

    def jobs(self, count: int) -> AbstractContextManager[Jobs]:
        """`count` workers for jobs, until the block ends.

        Raises:
            UserError: `count` is below 1, or a worker died and nobody could take over.
        """
        ...

    def runs(self, count: int) -> AbstractContextManager[Jobs] | None:
        """Where `count` whole runs are made side by side, until the block ends; None: here, one after another.

        Raises:
            UserError: a run was lost, and nobody could take over.
        """
        ...

    def envs(
        self,
        make: Callable[[], World],
        spec: EnvSpec,
        count: int,
        execute: int,
        preload: tuple[str, ...] = (),
    ) -> ChunkEnvs:
        """`count` worlds side by side, see `envs.chunks.ProcessEnvs`."""
        ...


class LocalEngine:
    """An `Engine`: processes of this machine."""

    spreads = False

    def workers(self, wanted: int) -> int:
        """See `Engine`."""
        return wanted or os.cpu_count() or 1

    def jobs(self, count: int) -> AbstractContextManager[Jobs]:
        """See `Engine`."""
        return worker_pool(count)

    def runs(self, count: int) -> AbstractContextManager[Jobs] | None:
        """See `Engine`."""
        return None

    def envs(
        self,
        make: Callable[[], World],
        spec: EnvSpec,
        count: int,
        execute: int,
        preload: tuple[str, ...] = (),
    ) -> ChunkEnvs:
        """See `Engine`."""
        return ProcessEnvs(make, spec, count, execute, preload)


_engines: list[Engine] = [LocalEngine()]


def engine() -> Engine:
    """The one that worlds and jobs run on now."""
    return _engines[-1]


@contextmanager
def running_on(chosen: Engine) -> Iterator[None]:
    """Worlds that are made and jobs that are begun in this block are the engine's."""
    _engines.append(chosen)
    try:
        yield
    finally:
        _engines.pop()
