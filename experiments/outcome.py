"""What an experiment found: the data as a method learned from them, and the outcome as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.stages.data import Data
from experiments.stages.evaluate import Evaluation
from experiments.stages.held_out import Foretold
from experiments.stages.label import Labels
from policy_extraction.batch import make_batch
from policy_extraction.dataset import Dataset


@dataclass(frozen=True)
class Labelled:
    """Data, values and what the method made of them.

    inputs: {name: [V, N, ...]} of the selected samples, what the policy reads of V copies of each.
    """

    data: Data
    labels: Labels
    samples: Dataset
    selected: Dataset
    inputs: Mapping[str, np.ndarray]

    def batch(self) -> dict[str, Any]:
        """All selected samples as one batch."""
        return make_batch(self.selected, {name: array[0] for name, array in self.inputs.items()})


@dataclass(frozen=True)
class Outcome:
    """All that an experiment found; `labelled` is None for methods that learn from rollouts alone.

    before, after: success; `after` is None where there is no environment, but held-out episodes (`held_out`).
    policy: the folder of the trained policy; videos: of its films, None where none were asked for.
    """

    labelled: Labelled | None
    critic_metrics: Mapping[str, Any] | None
    judge: Mapping[str, float]
    before: Evaluation | None
    after: Evaluation | None
    held_out: Foretold | None
    policy: Path
    videos: Path | None
    history: list[dict[str, Any]]
    seconds: float
