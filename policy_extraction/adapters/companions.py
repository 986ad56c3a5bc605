"""Processes that train one torch policy together (`torch.distributed`): a batch's rows are split over them.

All have the same policy and are given the same batches. Each computes log-probabilities of its own rows; a method's loss is
of the whole batch's, so that weights that are normalised over a batch mean what they mean in one process; gradients add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from envs.errors import UserError

_TOGETHER: ContextVar[bool] = ContextVar("companions", default=False)


@contextmanager
def together() -> Iterator[None]:
    """A block in which policies are made that all processes train; outside of it each is by itself."""
    token = _TOGETHER.set(True)
    try:
        yield
    finally:
        _TOGETHER.reset(token)


class Companions:
    """This process among those that train a policy, as it is when this is made."""

    def __init__(self) -> None:
        joined = _TOGETHER.get() and distributed.is_initialized()
        self.index = distributed.get_rank() if joined else 0
        self.count = distributed.get_world_size() if joined else 1

    def own(self, size: int) -> slice:
        """This process's rows of a batch.

        Raises:
            UserError: they cannot be split evenly.
        """
        if size % self.count:
            raise UserError(f"batch.size={size} must be a multiple of the {self.count} processes")
        share = size // self.count
        return slice(self.index * share, (self.index + 1) * share)

    def wrapped(self, module: torch.nn.Module) -> torch.nn.Module:
        """A module whose gradients are those of all processes."""
        if self.count == 1:
            return module
        device = next(module.parameters()).device
        return DistributedDataParallel(
            module, [device] if device.type == "cuda" else None, find_unused_parameters=True
        )

    def whole(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all processes; through this one's go gradients.

        They are `count` times as large as in one process, since `wrapped` takes their mean.
        """
        if self.count == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.count)]
        distributed.all_gather(parts, rows.detach().contiguous())
        parts[self.index] = rows + (self.count - 1) * (rows - rows.detach())
        return torch.cat(parts)


def rows_of(tensors: Any, rows: slice) -> Any:
    """The rows of a batch, however nested."""
    if isinstance(tensors, dict):
        return {name: rows_of(tensor, rows) for name, tensor in tensors.items()}
    return tensors[rows]
