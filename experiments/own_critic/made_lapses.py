"""Lapses made by hand in the held-out experts: are they found in the critic's values?

Each expert is shown twice more: with a pause, where its picture stands still for a seventh of its length (two seconds of
fourteen), and with a seventh of it undone and done again. A lapse is found if half of it at least lies in those of
`find_lapses` by its default rule, which was chosen on simulated demonstrations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from envs.files import load_arrays
from envs.types import Episode
from experiments.choices.critics import CriticSource
from experiments.lab.artifacts import Artifacts, digest
from experiments.lab.progress import announce
from experiments.own_critic.measure import VALUES, Shown, write_values
from experiments.stages.data import Data
from experiments.value_benchmark.measuring import Request
from value_model.critic.metrics.controls import paused, retraced
from value_model.critic.metrics.episodes import Views
from value_model.critic.metrics.lapses import Typical, covered, final_value, find_lapses, typical

VERSION = 1
SHARE = 1 / 7  # of an episode that is a pause, or undone
PLACES = (0.35, 0.75)  # of an episode between which they begin
ENOUGH = 0.5  # of a lapse that has to be found
KINDS = ("pause", "retrace")


@dataclass(frozen=True)
class Made:
    """A held-out expert with a lapse: of frames `start` to `end`, both inclusive."""

    name: str
    video: Shown
    kind: str
    start: int
    end: int

    @property
    def length(self) -> int:
        """Frames."""
        return self.video.length + self.end - self.start

    def episode(self) -> Episode:
        """As a critic gets it."""
        extra = self.end - self.start
        change: Callable[[Episode], Episode] = (
            partial(paused, at=self.start, frames=extra)
            if self.kind == "pause"
            else partial(retraced, at=self.start, frames=extra // 2)
        )
        return change(self.video.episode())


def made_lapses(videos: Sequence[Shown]) -> list[Made]:
    """A pause and a retrace in each expert, each expert's at another place; in those that are long enough for both."""
    experts = [video for video in videos if video.expert and round(SHARE * video.length) >= 1]
    found = []
    for place, video in zip(np.linspace(*PLACES, len(experts)), experts, strict=True):
        at, frames = int(place * video.length), round(SHARE * video.length)
        for kind, extra in zip(KINDS, (frames, 2 * frames), strict=True):
            found.append(Made(f"{video.name}/{kind}", video, kind, at, at + extra))
    return found


def values_of_made(
    artifacts: Artifacts, source: CriticSource, data: Sequence[Data], made: Sequence[Made], what: str
) -> list[np.ndarray]:
    """The critic's values float32 [T] of each, kept."""

    def build(folder: Path) -> None:
        requests = [Request(one.name, one.length, one.episode) for one in made]
        write_values(folder, source, requests, f"lapses {what}")

    inputs = {"critic": source.digest, "data": digest([part.digest for part in data])}
    recipe = {"lapses": [(one.name, one.start, one.end) for one in made]}
    kept = announce(artifacts.make("own_critic_lapses", VERSION, recipe, inputs, build), what)
    values = load_arrays(kept.folder / VALUES)[0]
    return [values[one.name] for one in made]


def lapse_figures(
    videos: Sequence[Shown], views: Sequence[Views], made: Sequence[Made], values: Sequence[np.ndarray]
) -> dict[str, float]:
    """pause_found, retrace_found: the share of the lapses made by hand that are found; lapses_before: how many are found
    in an expert as it is, on average. Episodes whose values are not all known are left out.
    """
    experts = [(video, view.base) for video, view in zip(videos, views, strict=True) if video.expert]
    usual = typical([video.length for video, _ in experts], [final_value(base) for _, base in experts])
    found: dict[str, float] = {}
    for kind in KINDS:
        scores = [
            _is_found(one, curve, usual)
            for one, curve in zip(made, values, strict=True)
            if one.kind == kind and np.isfinite(curve).all()
        ]
        if scores:
            found[f"{kind}_found"] = float(np.mean(scores))
    known = [(video, base) for video, base in experts if np.isfinite(base).all()]
    if known:
        found["lapses_before"] = float(
            np.mean([len(find_lapses(base, video.store.fps, usual)) for video, base in known])
        )
    return found


def _is_found(one: Made, values: np.ndarray, usual: Typical) -> bool:
    return covered(find_lapses(values, one.video.store.fps, usual), one.start, one.end) >= ENOUGH
