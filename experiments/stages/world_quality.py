"""Stage `world_quality`: how well a world model foretells held-out episodes of each task."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from envs.files import atomic_file
from envs.types import Episode
from experiments.lab.artifacts import Artifact, digest
from experiments.lab.context import Context
from experiments.lab.pictures import stacked, write_png
from experiments.lab.progress import announce
from experiments.stages.data import Data
from experiments.stages.world_model import FOLDER

VERSION = 5
PICTURES = "pictures"
STRIPS = 4  # pictures of a task
GAP = 4  # pixels between them

Quality = Mapping[str, Mapping[str, Mapping[int, float]]]
"""{task: {what: {steps of the world: error}}}, see `value_model.imagination.quality.quality`."""


def measure_world_model(
    context: Context,
    made: Artifact,
    data: Mapping[str, Sequence[Data]],
    learnt: Sequence[Data],
    metres: bool = True,
) -> tuple[Quality, Path]:
    """Its errors on held-out data sets of each task, and the artifact's folder, with strips in `pictures/<task>.png`.

    Args:
        learnt: what it was trained on; from that of a task a probe learns to find its object.
        metres: whether proprioception begins with the hand's place in metres.
    """

    def build(folder: Path) -> None:
        from value_model.imagination.objects import object_probe
        from value_model.imagination.quality import HORIZONS, quality, record, strip
        from value_model.imagination.world_model import load_world_model

        world, found = load_world_model(made.folder / FOLDER), {}
        for task, parts in data.items():
            clips = record(world, [part.open() for part in parts], HORIZONS[-1])
            locate = object_probe(world, _of_task(learnt, task, world.config.cameras))
            found[task] = quality(world, clips, locate=locate, metres=metres)
            longest = np.argsort(-clips.there.sum(axis=1), kind="stable")[: STRIPS * 4 : 4]
            strips = [strip(world, clips, int(row), every=2) for row in longest]
            write_png(folder / PICTURES / f"{task}.png", stacked(strips, GAP))
        with atomic_file(folder / "quality.json") as temporary:
            temporary.write_text(json.dumps(found, indent=1))

    inputs = {"world_model": made.digest, "learnt": digest([part.digest for part in learnt])} | {
        task: digest([part.digest for part in parts]) for task, parts in data.items()
    }
    recipe = None if metres else {"metres": metres}
    measured = announce(context.artifacts.make("world_quality", VERSION, recipe, inputs, build))
    read = json.loads((measured.folder / "quality.json").read_text())
    found = {
        task: {name: {int(count): error for count, error in row.items()} for name, row in one.items()}
        for task, one in read.items()
    }
    return found, measured.folder


def _of_task(data: Sequence[Data], task: str, cameras: Sequence[str]) -> Iterator[Episode]:
    """The episodes of one task, with the pictures of these cameras."""
    for store in (part.open() for part in data):
        for index in range(len(store)):
            if store.episode_info(index).task == task:
                yield store.episode(index, cameras)
