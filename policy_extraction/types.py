"""What passes between data, methods and policies. No framework is imported here.

Dimension letters: N samples of a data set, U updates, B batch, H action horizon, A action, P proprioception.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Batch = Mapping[str, Any]
"""What a method's loss sees. Arrays of the policy's framework, all with leading axis B:

    advantage          [B] float32
    weight             [B] float32, set by `Method.select`
    behavior_log_prob  [B] or [B, K] float32, log-probability of the action under the policy that acted (online methods)
"""


class Method(Protocol):
    """How advantages become a better policy. A frozen dataclass whose fields are its configuration."""

    def select(self, dataset: Any) -> Any:
        """numpy: keep, weigh, relabel or normalise samples of a `policy_extraction.dataset.Dataset`."""
        ...

    def loss(self, xp: Any, log_prob: Any, batch: Batch) -> Any:
        """Per-sample loss [B] from the policy's log_prob [B] (or [B, K], K action tokens); pure; xp is numpy, jax.numpy or torch."""
        ...


class Policy(Protocol):
    """A trainable policy, behind an adapter of any framework."""

    action_horizon: int

    def act(self, observation: Any, seeds: np.ndarray) -> np.ndarray:
        """Action chunks float32 [B, H, A] for an `envs.types.Observation` of length B; row b is drawn with seeds[b]."""
        ...

    def preprocess(self, observation: Any) -> dict[str, np.ndarray]:
        """The arrays, leading axis B, that the policy's network reads: used by `act` and for training alike."""
        ...

    def update(self, batches: Mapping[str, Any], method: Method) -> dict[str, float]:
        """U gradient steps; `batches` has leading axes [U, B]. Returns the mean metrics (at least `loss`)."""
        ...

    def log_prob(self, batch: Mapping[str, Any]) -> np.ndarray:
        """Log-probability of batch["action"]: [B] or [B, K] float32."""
        ...

    def save(self, folder: Path) -> None: ...

    def restore(self, folder: Path) -> None: ...
