"""Stage `world_verdicts`: what a world model says of rollouts that it has not seen, beside what came of them.

A policy's own actions fit the scene in which it acted; those that were done in the scene of another need not (see
`envs.transplant`). Whoever learns by acting in the model depends on what it says of both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from envs.files import atomic_file
from envs.types import Episode
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.progress import announce
from experiments.stages.data import Data
from experiments.stages.world_model import FOLDER

VERSION = 1


@dataclass(frozen=True)
class Verdicts:
    """said, solved: bool [N], of every episode whose outcome is known."""

    said: np.ndarray
    solved: np.ndarray


def world_verdicts(
    context: Context, made: Artifact, data: Mapping[str, Mapping[str, Data]]
) -> dict[str, dict[str, Verdicts]]:
    """{task: {kind of rollouts: verdicts}} of data {task: {kind: rollouts}}."""
    return {
        task: {kind: _verdicts(context, made, part) for kind, part in parts.items()}
        for task, parts in data.items()
    }


def _verdicts(context: Context, made: Artifact, data: Data) -> Verdicts:
    def build(folder) -> None:
        from value_model.imagination.verdicts import attempt, look_solved
        from value_model.imagination.world_model import load_world_model

        world = load_world_model(made.folder / FOLDER)
        attempts = (attempt(episode, world.config) for episode in _known(data.open()))
        told = {
            "said": look_solved(world, attempts).tolist(),
            "solved": [bool(episode.success) for episode in _known(data.numbers())],
        }
        with atomic_file(folder / "verdicts.json") as temporary:
            temporary.write_text(json.dumps(told))

    inputs = {"world_model": made.digest, "data": data.digest}
    found = announce(context.artifacts.make("world_verdicts", VERSION, None, inputs, build))
    told = json.loads((found.folder / "verdicts.json").read_text())
    return Verdicts(np.array(told["said"], bool), np.array(told["solved"], bool))


def _known(episodes: Iterable[Episode]) -> Iterator[Episode]:
    """Those whose outcome is known."""
    return (episode for episode in episodes if episode.success is not None)
