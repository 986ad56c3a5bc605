"""Stage `value_bench`: a critic's values of the benchmark's trajectories and of the control videos, and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file, load_arrays, save_arrays
from envs.robosuite.tasks import ROBOSUITE_TASKS
from envs.store import EpisodeInfo, Store
from envs.types import Episode
from experiments.choices.critics import CriticSource
from experiments.lab.artifacts import SCRATCH, Artifacts
from experiments.lab.progress import announce, bar
from experiments.value_benchmark.measures import Measures, chosen
from experiments.value_benchmark.scores import Scores
from value_model.critic.metrics.controls import backwards, still, told, unlabelled
from value_model.critic.metrics.episodes import Views
from value_model.critic.types import Critic

VERSION = 1
VALUES = "values.safetensors"
BASE, STILL, BACKWARDS, TOLD = "base", "still", "backwards", "told"


@dataclass(frozen=True)
class Request:
    """A video that a critic is to give values of; `name` tells it from all others of the store."""

    name: str
    length: int
    make: Callable[[], Episode]


def measure(
    critic: Critic,
    store: Store,
    subset: str = "all",
    measures: Measures | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """The benchmark's figures for a critic, see `Scores.summary`.

    Args:
        store: trajectories with style, segments, task and robot, such as the benchmark's.
        subset: `all`, `robosuite`, `seen` or `zero_shot`; only those trajectories are labelled.
        measures: everything else; then `subset` is not looked at.
        progress: called with a number of frames whenever that many more are labelled.

    Raises:
        UserError: no such trajectories, or the critic gave something that is no value.
    """
    measures = measures or Measures(subset=subset)
    infos = chosen(all_infos(store), measures)
    values: dict[str, np.ndarray] = {}
    for requests in plan(store, infos, measures).values():
        for request, found in label_requests(critic, requests):
            values[request.name] = found
            if progress is not None:
                progress(request.length)
    return summarize(infos, values, store.fps, measures)


def all_infos(store: Store) -> list[EpisodeInfo]:
    """What is known of every trajectory."""
    return [store.episode_info(index) for index in range(len(store))]


def plan(store: Store, infos: Sequence[EpisodeInfo], measures: Measures) -> dict[str, list[Request]]:
    """What a critic is asked, in four passes: the trajectories themselves, then the controls.

    Controls are the first undisturbed (`clean`) trajectories of each task and robot.
    """
    passes: dict[str, list[Request]] = {BASE: [], STILL: [], BACKWARDS: [], TOLD: []}
    seen: dict[tuple[str, str], int] = {}
    for info in infos:
        episode = partial(unlabelled, store, info.index)
        passes[BASE].append(Request(f"{BASE}/{info.index}", info.length, episode))
        if info.style != "clean":
            continue
        number = seen[info.task, info.robot] = seen.get((info.task, info.robot), 0) + 1
        if number <= measures.control_videos:
            for name, change in ((STILL, still), (BACKWARDS, backwards)):
                make = partial(_changed, episode, change)
                passes[name].append(Request(f"{name}/{info.index}", info.length, make))
        if number <= measures.instruction_videos:
            for task, instruction in other_instructions(info.task).items():
                make = partial(_changed, episode, partial(told, instruction=instruction))
                passes[TOLD].append(Request(f"{TOLD}/{info.index}/{task}", info.length, make))
    return passes


def other_instructions(task: str) -> dict[str, str]:
    """{task: its canonical instruction} of every task but this one."""
    return {name: spec.instructions[0] for name, spec in ROBOSUITE_TASKS.items() if name != task}


def _changed(episode: Callable[[], Episode], change: Callable[[Episode], Episode]) -> Episode:
    return change(episode())


def label_requests(critic: Critic, requests: Sequence[Request]) -> Iterator[tuple[Request, np.ndarray]]:
    """The critic's values float32 [T] of every request, as they come.

    NaN stands for a value that the critic could not give.

    Raises:
        UserError: too few or too many answers, or one of a wrong length or outside [0, 1].
    """
    answers = critic.label(request.make() for request in requests)
    count = 0
    for values in answers:
        if count == len(requests):
            raise UserError(f"the critic gave values for more than the {count} videos that it was shown")
        request = requests[count]
        yield request, check_values(values, request)
        count += 1
    if count < len(requests):
        raise UserError(f"the critic gave values for {count} of {len(requests)} videos; it must give all")


def check_values(values: Any, request: Request) -> np.ndarray:
    """Values float32 [T] in [0, 1], or NaN.

    Raises:
        UserError: they are something else.
    """
    array = np.asarray(values, np.float32)
    place = f"the critic's values of {request.name.replace('/', ' ')}"
    if array.shape != (request.length,):
        raise UserError(
            f"{place} have shape {list(array.shape)} for {request.length} frames; give one a frame"
        )
    if ((array < 0) | (array > 1)).any():
        raise UserError(f"{place} are not all in [0, 1]; clip or scale them (NaN stands for no value)")
    return array


def summarize(
    infos: Sequence[EpisodeInfo], values: Mapping[str, np.ndarray], fps: float, measures: Measures
) -> dict[str, Any]:
    """The figures from values by the names of their requests."""
    views = [
        Views(
            base=values[f"{BASE}/{info.index}"],
            still=values.get(f"{STILL}/{info.index}"),
            backwards=values.get(f"{BACKWARDS}/{info.index}"),
            told=tuple(
                values[name]
                for task in other_instructions(info.task)
                if (name := f"{TOLD}/{info.index}/{task}") in values
            ),
        )
        for info in infos
    ]
    return Scores(infos, views, fps, measures).summary()


def label_bench(
    artifacts: Artifacts, source: CriticSource, data_digest: str, passes: Mapping[str, Sequence[Request]]
) -> dict[str, np.ndarray]:
    """Values by the names of their requests, each pass an artifact; a killed one goes on where it stopped."""
    values: dict[str, np.ndarray] = {}
    for name, requests in passes.items():
        if not requests:
            continue

        def build(folder: Path, name: str = name, requests: Sequence[Request] = requests) -> None:
            _label_pass(folder, source, name, requests)

        inputs = {"data": data_digest, "critic": source.digest}
        recipe = {"requests": [request.name for request in requests]}
        made = announce(artifacts.make("value_bench_label", VERSION, recipe, inputs, build), name)
        values |= load_arrays(made.folder / VALUES)[0]
    return values


def _label_pass(folder: Path, source: CriticSource, name: str, requests: Sequence[Request]) -> None:
    scratch = folder / SCRATCH
    done = {request.name: scratch / f"{request.name.replace('/', '-')}.npy" for request in requests}
    left = [request for request in requests if not done[request.name].is_file()]
    with bar(f"label {name}", sum(request.length for request in requests), "frames") as shown:
        shown.update(sum(request.length for request in requests) - sum(request.length for request in left))
        for request, values in label_requests(source.load(), left) if left else ():
            with atomic_file(done[request.name]) as temporary, open(temporary, "wb") as file:
                np.save(file, values)
            shown.update(request.length)
    save_arrays(folder / VALUES, {name: np.load(path) for name, path in done.items()})
