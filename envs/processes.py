"""Worker processes that never outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import ModuleType

from envs.errors import UserError


@contextmanager
def without_main() -> Iterator[None]:
    """Processes that are started in this block do not import the program's main file.

    They need only what they are sent, so that neither a heavy main file costs time and memory in each of them, nor a
    script without `if __name__ == "__main__"` runs again there.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Fork(ForkServerProcess):
    def start(self) -> None:
        with without_main():
            super().start()


class _Forks(ForkServerContext):
    Process = _Fork


def forks(*modules: str) -> ForkServerContext:
    """Where processes start: without the program's main file, forked from one that has imported `modules` once.

    The modules of the first call count.
    """
    context = _Forks()
    context.set_forkserver_preload(list(modules))
    return context


@contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` processes that end with this block, or with this process.

    Raises:
        UserError: `count` is below 1, or a worker died.
    """
    if count < 1:
        raise UserError(f"workers={count}; give at least 1")
    context = forks("envs.experts", "envs.robosuite.preload")
    pool = ProcessPoolExecutor(count, context, initializer=_live_with_parent)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError("a worker process died (out of memory?); try again with fewer workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _live_with_parent() -> None:
    """In a worker: leave interrupts to the parent, and die when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
