"""Processes that train one torch policy together (`torch.distributed`): a batch's rows are split over them.

All have the same policy and are given the same batches. Each computes log-probabilities of its own rows; a method's loss is
of the whole batch's, so that weights that are normalised over a batch mean what they mean in one process; gradients add up.
Every process has the policy whole (`DistributedDataParallel`), or its shard of every parameter (FSDP2): then moments and
averages are never whole anywhere; parameters and gradients are while they are computed, all at once or a block at a time.
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

COPIES, SHARDS = "copies", "shards"

_TOGETHER: ContextVar[str] = ContextVar("companions", default="")


@contextmanager
def together(shards: bool = False) -> Iterator[None]:
    """A block in which policies are made that all processes train; outside of it each is by itself.

    Args:
        shards: whether each has but its shard of every parameter.
    """
    token = _TOGETHER.set(SHARDS if shards else COPIES)
    try:
        yield
    finally:
        _TOGETHER.reset(token)


class Companions:
    """This process among those that train a policy, as it is when this is made."""

    def __init__(self) -> None:
        joined = bool(_TOGETHER.get()) and distributed.is_initialized()
        self.index = distributed.get_rank() if joined else 0
        self.count = distributed.get_world_size() if joined else 1
        self.shards = joined and _TOGETHER.get() == SHARDS

    def own(self, size: int) -> slice:
        """This process's rows of a batch.

        Raises:
            UserError: they cannot be split evenly.
        """
        if size % self.count:
            raise UserError(f"batch.size={size} must be a multiple of the {self.count} processes")
        share = size // self.count
        return slice(self.index * share, (self.index + 1) * share)

    def wrapped(self, module: torch.nn.Module, blocks: tuple[str, ...] = ()) -> torch.nn.Module:
        """A module whose gradients are those of all processes.

        Args:
            blocks: names of the classes of parts that are whole one after another, where parameters are in shards; a part
                must be called as a whole.
        """
        device = next(module.parameters()).device
        if self.shards:
            return _sharded(module, device.type, self.count, blocks)
        if self.count == 1:
            return module
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


def _sharded(module: torch.nn.Module, device: str, count: int, blocks: tuple[str, ...]) -> torch.nn.Module:
    """The module, inner parts first. (What shards takes two seconds to import.)"""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device, (count,))
    for part in reversed(list(module.modules())):
        if type(part).__name__ in blocks:
            fully_shard(part, mesh=mesh)
    return fully_shard(module, mesh=mesh)  # type: ignore[return-value]


def in_shards(tensor: torch.Tensor) -> bool:
    """Whether it is a `DTensor`."""
    return hasattr(tensor, "full_tensor")


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """The whole tensor, where it is in shards: all processes have to ask."""
    whole: Any = tensor
    return whole.full_tensor() if in_shards(tensor) else tensor


@torch.no_grad()
def fill(tensor: torch.Tensor, whole: torch.Tensor) -> None:
    """Put the whole into a tensor, or every process its own shard of it."""
    if in_shards(tensor):
        from torch.distributed.tensor import distribute_tensor

        told: Any = tensor
        mesh, placements = told.device_mesh, told.placements
        whole = distribute_tensor(whole.to(tensor.device), mesh, placements, src_data_rank=None)
    tensor.detach().copy_(whole)


def rows_of(tensors: Any, rows: slice) -> Any:
    """The rows of a batch, however nested."""
    if isinstance(tensors, dict):
        return {name: rows_of(tensor, rows) for name, tensor in tensors.items()}
    return tensors[rows]
