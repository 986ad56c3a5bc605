"""Worker processes that never outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from envs.errors import UserError


@contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` processes that end with this block, or with this process.

    Raises:
        UserError: `count` is below 1, or a worker died.
    """
    if count < 1:
        raise UserError(f"workers={count}; give at least 1")
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_live_with_parent)
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
