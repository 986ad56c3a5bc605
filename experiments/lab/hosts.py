"""Several processes that go through one command: the first leads, the others follow it from stage to stage.

A stage that all of them train is entered by all; every other is made by the first, while the others wait. They have the
folder of artifacts in common.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

WORD = 256  # bytes of what is said


@dataclass(frozen=True)
class Hosts(ABC):
    """This process among all of them. engine: what brings them together, and what they can train."""

    index: int
    count: int

    engine: ClassVar[str]

    @property
    def leads(self) -> bool:
        """Whether it is the first."""
        return self.index == 0

    def agree(self, word: str = "") -> str:
        """What the leader says, in every process; whoever comes early waits for the others."""
        said = np.zeros(WORD, np.uint8)
        said[: len(word)] = list(word.encode())
        return bytes(self.told(said)).rstrip(b"\0").decode()

    @abstractmethod
    def told(self, said: Any) -> Any:
        """The leader's uint8 [WORD]; waits for all."""

    @abstractmethod
    def together(self) -> AbstractContextManager[None]:
        """A block that all go through, in which they train."""


@dataclass(frozen=True)
class JaxHosts(Hosts):
    """Processes that `jax.distributed` has joined, one a host, or one a GPU."""

    engine = "jax"

    def told(self, said: Any) -> Any:
        """See `Hosts`."""
        from jax.experimental import multihost_utils

        from value_model.video import hosts

        with hosts.together():
            hosts.meet()
            return multihost_utils.broadcast_one_to_all(said)

    def together(self) -> AbstractContextManager[None]:
        """See `Hosts`."""
        from value_model.video.hosts import together

        return together()


@dataclass(frozen=True)
class TorchHosts(Hosts):
    """Processes that `torchrun` has started, one a GPU. shards: whether each holds but its shard of a policy."""

    shards: bool = False

    engine = "torch"

    def told(self, said: Any) -> Any:
        """See `Hosts`."""
        import torch

        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        sent = torch.from_numpy(said).to(device)
        torch.distributed.broadcast(sent, 0)
        return sent.cpu().numpy()

    def together(self) -> AbstractContextManager[None]:
        """See `Hosts`."""
        from policy_extraction.adapters.companions import together

        return together(self.shards)


_HOSTS: ContextVar[Hosts | None] = ContextVar("hosts", default=None)
_TRAINING: ContextVar[Hosts | None] = ContextVar("training", default=None)


def hosts_together() -> Hosts | None:
    """Those that go through this command; None where this process is alone, or makes something that is none of theirs."""
    return _HOSTS.get()


def follows() -> bool:
    """Whether this process only follows another one: it says nothing, and nobody looks at what it measures."""
    hosts = _HOSTS.get() or _TRAINING.get()
    return hosts is not None and not hosts.leads


def training_hosts() -> Hosts | None:
    """Those that make the stage that is being made; None where one process does."""
    return _TRAINING.get()


@contextmanager
def going_with(hosts: Hosts | None) -> Iterator[None]:
    """A block that these go through; None: one that this process is alone in."""
    token = _HOSTS.set(hosts)
    try:
        yield
    finally:
        _HOSTS.reset(token)


@contextmanager
def training_with(hosts: Hosts) -> Iterator[None]:
    """A block in which all of them make one stage; it ends for all at once."""
    token = _TRAINING.set(hosts)
    try:
        with going_with(None), hosts.together():
            yield
        hosts.agree()
    finally:
        _TRAINING.reset(token)
