"""Batches made on the host while the devices work on the ones before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")


def prefetch(make: Callable[[int], Batch], numbers: Iterable[int], ahead: int = 2) -> Iterator[Batch]:
    """`make(number)` of every number, in order; a thread is up to `ahead` batches further than the reader.

    Raises:
        Whatever `make` raises, when the reader comes to that batch.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as pool:
        waiting: deque[Future[Batch]] = deque()
        for number in numbers:
            waiting.append(pool.submit(make, number))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
