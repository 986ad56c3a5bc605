"""What the steps of a run spend their time on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from envs.rollout import Actor
from envs.types import Observation


@dataclass
class Stopwatch:
    """seconds: by what they were spent on; time within time counts for the inner one alone."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def spent(self, what: str) -> Iterator[None]:
        """Count the time within under `what`."""
        began, others = time.perf_counter(), sum(self.seconds.values())
        yield
        inner = sum(self.seconds.values()) - others
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - began - inner


@dataclass(frozen=True)
class TimedActor:
    """An `Actor` whose decisions are timed."""

    actor: Actor
    watch: Stopwatch

    def act(self, observation: Observation, seeds: np.ndarray) -> np.ndarray:
        """See `Actor`."""
        with self.watch.spent("policy"):
            return self.actor.act(observation, seeds)
