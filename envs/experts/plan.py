"""What a demonstration of each style sets out to do, drawn at random before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from envs.types import STYLES

Waypoint = Literal["start", "hover", "grasp", "lifted", "place"]
Leg = Literal["approach", "carry"]
Mistake = Literal["give_up", "drop", "off_target"]
MISTAKES: tuple[Mistake, ...] = ("give_up", "drop", "off_target")


@dataclass(frozen=True)
class Hesitation:
    """At a waypoint do nothing useful for `steps` frames: stand still, or wander within `reach` metres."""

    where: Waypoint
    steps: int
    still: bool
    reach: float


@dataclass(frozen=True)
class Miss:
    """Close the hand beside the object, draw back and grasp again.

    offset: where, from the object (x, y; metres); close_steps: frames; retreat: metres above the hover point.
    """

    offset: np.ndarray
    close_steps: int
    retreat: float


@dataclass(frozen=True)
class Detour:
    """On one leg of the way go first to a point `sideways` metres (signed) off the straight line."""

    leg: Leg
    sideways: float


@dataclass(frozen=True)
class Failure:
    """How it fails: the mistake, at which fraction of its leg, in which direction (radians), how far (metres)."""

    mistake: Mistake
    fraction: float
    direction: float
    distance: float


@dataclass(frozen=True)
class Plan:
    """One demonstration.

    speed, noise: of the hand, see `Arm`; linger: frames after success; length: of a failure, relative to what
    is usual; the others: what goes wrong.
    """

    speed: float
    noise: float
    linger: int
    hesitation: Hesitation | None = None
    miss: Miss | None = None
    detour: Detour | None = None
    failure: Failure | None = None
    length: float = 1.0


def draw_plan(
    style: str, seed: int, waypoints: tuple[Waypoint, ...], legs: tuple[Leg, ...]
) -> tuple[Plan, np.random.Generator]:
    """The plan of a demonstration and the generator of its noise; both depend on `style` and `seed` alone.

    waypoints, legs: where this task can hesitate and make a detour.
    """
    rng = np.random.default_rng([seed, STYLES.index(style)])
    speed = rng.uniform(0.3, 0.45) if style == "slow" else rng.uniform(0.6, 0.9)
    noise = rng.uniform(0.1, 0.16) if style == "noisy" else 0.05
    linger = int(rng.integers(5, 11))
    hesitation = miss = detour = failure = None
    length = rng.uniform(0.85, 1.15)
    if style == "hesitation":
        hesitation = Hesitation(
            where=waypoints[rng.integers(len(waypoints))],
            steps=int(rng.integers(15, 41)),
            still=bool(rng.random() < 0.5),
            reach=rng.uniform(0.008, 0.015),
        )
    elif style == "retry":
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.045)
        miss = Miss(
            distance * np.array([np.cos(angle), np.sin(angle)]),
            int(rng.integers(6, 11)),
            rng.uniform(0.0, 0.05),
        )
    elif style == "detour":
        detour = Detour(legs[rng.integers(len(legs))], rng.choice([-1.0, 1.0]) * rng.uniform(0.08, 0.14))
    elif style == "failure":
        failure = Failure(
            mistake=MISTAKES[rng.integers(len(MISTAKES))],
            fraction=rng.uniform(0.2, 0.8),
            direction=rng.uniform(0, 2 * np.pi),
            distance=rng.uniform(0.07, 0.11),
        )
    return Plan(speed, noise, linger, hesitation, miss, detour, failure, length), rng
