"""The averaged weights of a torch module."""

from __future__ import annotations

import copy
from typing import Any

import torch

from policy_extraction.adapters.companions import fill, gathered


class Average:
    """An exponential moving average of the parameters that are trained, as a module of its own.

    Parameters that are not trained are shared with the module. Where processes have the module in shards, so is the average
    (`begin`), and `module`, which is on the processor then, is only brought up to date by `gather`.
    """

    def __init__(self, module: torch.nn.Module, shards: bool = False) -> None:
        """See the class; made before the module is taken into shards."""
        frozen = {} if shards else {id(one): one for one in module.parameters() if not one.requires_grad}
        found = copy.deepcopy(module, frozen).eval().requires_grad_(False)
        self.module: Any = found.cpu() if shards else found
        self._whole = [
            (averaged, own.requires_grad)
            for averaged, own in zip(self.module.parameters(), module.parameters(), strict=True)
        ]
        self._held: list[torch.Tensor] = [averaged for averaged, _ in self._whole]

    def begin(self, module: torch.nn.Module) -> None:
        """Hold shards, as the module does by now; of what is not trained its own."""
        self._held = [
            own.detach().clone() if own.requires_grad else own.detach() for own in module.parameters()
        ]

    @torch.no_grad()
    def move(self, module: torch.nn.Module, decay: float) -> None:
        """Towards the module's parameters; its buffers are taken as they are."""
        for old, new in zip(self._held, module.parameters(), strict=True):
            if new.requires_grad:
                old.lerp_(new, 1 - decay)
        for old, new in zip(self.module.buffers(), module.buffers(), strict=True):
            old.copy_(new)

    @torch.no_grad()
    def gather(self) -> None:
        """Bring `module` up to date: all processes have to."""
        for (whole, _), held in zip(self._whole, self._held, strict=True):
            if held is not whole:
                whole.copy_(gathered(held))

    def scatter(self) -> None:
        """Hold what `module` has been filled with, and bring it up to date in what is not trained."""
        for (whole, trained), held in zip(self._whole, self._held, strict=True):
            if held is not whole and trained:
                fill(held, whole)
        self.gather()
