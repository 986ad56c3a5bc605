"""What all stages of an experiment share."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.lab.artifacts import Artifacts
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker


@dataclass(frozen=True)
class Context:
    """Where artifacts are, who is told the numbers, and the simulators that are open."""

    artifacts: Artifacts
    tracker: Tracker
    simulators: Simulators
