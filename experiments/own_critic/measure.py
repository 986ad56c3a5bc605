"""How good a critic is on the held-out episodes: as they are, standing still, backwards, and under other instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from envs.files import load_arrays, save_arrays
from envs.store import Store
from envs.types import Episode
from experiments.choices.critics import CriticSource
from experiments.lab.artifacts import Artifacts, digest
from experiments.lab.progress import announce, bar
from experiments.own_critic.fit import bounds
from experiments.own_critic.split import EXPERT, MARKED, Part, kind
from experiments.stages.data import Data
from experiments.value_benchmark.measures import trajectory_score
from experiments.value_benchmark.measuring import Request, label_requests
from value_model.critic.metrics.controls import backwards, still, told, unlabelled
from value_model.critic.metrics.episodes import (
    Facts,
    Views,
    collect_scores,
    progress_is_known,
    spearman,
    summary,
    true_progress,
)
from value_model.critic.stretches import stretches

VERSION = 1
OTHERS = 7  # other instructions that an episode is shown under at most
VALUES = "values.safetensors"
FEWEST = 3  # episodes from which a correlation says anything
EXPERT_STYLE = "clean"  # under which an undisturbed success of any origin is measured


@dataclass(frozen=True)
class Shown:
    """A held-out episode, or a stretch of one under an instruction of its own: what a critic is asked about.

    index, place: of the episode in the store, and of the stretch in it; frames: its first, and the one after its last;
    facts: what is known of it, an undisturbed success as of style clean; others: the other instructions that it is shown
    under.
    """

    name: str
    store: Store
    index: int
    place: int
    frames: tuple[int, int]
    instruction: str
    facts: Facts
    others: tuple[str, ...]

    @property
    def length(self) -> int:
        """Frames."""
        return self.frames[1] - self.frames[0]

    @property
    def expert(self) -> bool:
        """Whether its true value is t / (T − 1)."""
        return self.facts.style == EXPERT_STYLE

    @property
    def truth(self) -> np.ndarray | None:
        """True progress float32 [T], None where it is not known."""
        known = progress_is_known(self.facts)
        return true_progress(self.length, self.facts.segments) if known else None

    def episode(self) -> Episode:
        """As a critic gets it."""
        return list(stretches(unlabelled(self.store, self.index)))[self.place]


def shown(parts: Sequence[Part]) -> list[Shown]:
    """All that is held out, stretch by stretch."""
    tasks = sorted(
        {
            text
            for part in parts
            for index in range(len(part.store))
            for _, text in part.store.episode_info(index).instructions
        }
    )
    found = []
    for number, part in enumerate(parts):
        for index in part.held_out:
            info = part.store.episode_info(index)
            what = kind(info, part.store.folder)
            style = {EXPERT: EXPERT_STYLE, MARKED: info.style}.get(what, "unknown")
            for place, (frames, (_, text)) in enumerate(zip(bounds(info), info.instructions, strict=True)):
                at = tasks.index(text)
                others = [*tasks[at + 1 :], *tasks[:at]][:OTHERS] if what == EXPERT else []
                segments = info.segments if what == MARKED else ()
                facts = Facts(info.success, style, segments)
                name = f"{number}-{info.number}-{place}"
                found.append(Shown(name, part.store, index, place, frames, text, facts, tuple(others)))
    return [one for one in found if one.length > 1]


def values_of(
    artifacts: Artifacts, source: CriticSource, data: Sequence[Data], videos: Sequence[Shown], what: str
) -> list[Views]:
    """The critic's values of all videos and of their controls, kept."""
    requests = list(_requests(videos))

    def build(folder: Path) -> None:
        write_values(folder, source, requests, f"measure {what}")

    inputs = {"critic": source.digest, "data": digest([part.digest for part in data])}
    recipe = {"requests": [request.name for request in requests]}
    made = announce(artifacts.make("own_critic_values", VERSION, recipe, inputs, build), what)
    values = load_arrays(made.folder / VALUES)[0]
    return [_views(video, values) for video in videos]


def write_values(folder: Path, source: CriticSource, requests: Sequence[Request], told: str) -> None:
    """The critic's values float32 [T] of all that is requested, by its name, in `VALUES`; `told` is for the bar."""
    values = {}
    with bar(told, sum(request.length for request in requests), "frames") as counter:
        for request, found in label_requests(source.load(), requests):
            values[request.name] = found
            counter.update(request.length)
    save_arrays(folder / VALUES, values)


def _requests(videos: Sequence[Shown]) -> Iterator[Request]:
    for video in videos:
        yield Request(f"{video.name}/as it is", video.length, video.episode)
        if not video.expert:
            continue
        changes: dict[str, Callable[[Episode], Episode]] = {"still": still, "backwards": backwards}
        changes |= {text: partial(told, instruction=text) for text in video.others}
        for name, change in changes.items():
            yield Request(f"{video.name}/{name}", video.length, partial(_changed, video, change))


def _changed(video: Shown, change: Callable[[Episode], Episode]) -> Episode:
    return change(video.episode())


def _views(video: Shown, values: Mapping[str, np.ndarray]) -> Views:
    return Views(
        values[f"{video.name}/as it is"],
        values.get(f"{video.name}/still"),
        values.get(f"{video.name}/backwards"),
        tuple(values[f"{video.name}/{text}"] for text in video.others),
    )


def figures(videos: Sequence[Shown], views: Sequence[Views]) -> dict[str, float]:
    """The metrics of `measure_critic`, and beside them

    vroc: mean VOC of experts played backwards, −1 is right; expert_rmse: root mean squared error to t / (T − 1), over
    experts; length_correlation: Spearman's of the experts' scores (last value times VOC) with their lengths, near 0 is
    right; instruction_top1: share of the experts whose last value is highest under their own instruction,
    instruction_margin: by how much. What has no episode, or is undefined, is left out.
    """
    found: dict[str, float] = {}
    measured = [(video.facts, view) for video, view in zip(videos, views, strict=True)]
    for name, (_, scores) in collect_scores(measured).items():
        found |= summary(name, scores)
    experts = [(video, view) for video, view in zip(videos, views, strict=True) if video.expert]
    errors = [np.sqrt(((view.base - true_progress(video.length)) ** 2).mean()) for video, view in experts]
    lengths = np.array([video.length for video, _ in experts])
    scores = np.array([trajectory_score(view.base) for _, view in experts])
    found["expert_rmse"] = float(np.mean(errors))
    if len(experts) >= FEWEST:
        found["length_correlation"] = spearman(scores, lengths)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def confusion(videos: Sequence[Shown], views: Sequence[Views]) -> dict[str, dict[str, float]]:
    """{what was done: {what was said: mean last value}}, over the experts; empty with one instruction."""
    found: dict[str, dict[str, list[float]]] = {}
    for video, view in zip(videos, views, strict=True):
        row = found.setdefault(video.instruction, {}) if video.others else {}
        for text, values in zip((video.instruction, *video.others), (view.base, *view.told), strict=True):
            row.setdefault(text, []).append(float(values[-1]))
    return {
        done: {said: float(np.mean(finals)) for said, finals in row.items()} for done, row in found.items()
    }
