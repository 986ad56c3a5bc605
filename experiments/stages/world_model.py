"""Stages `world_model` and `world_quality`: a world model trained on data sets, and how well it foretells held-out ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from envs.files import atomic_file
from experiments.lab.artifacts import SCRATCH, Artifact, digest, file_digest
from experiments.lab.context import Context
from experiments.lab.pictures import stacked, write_png
from experiments.lab.progress import Bars, announce
from experiments.stages.data import Data
from value_model.imagination.config import WEIGHTS, ImaginationConfig

VERSION = 4
FOLDER = "world_model"
PICTURES = "pictures"
STRIPS = 4  # pictures of a task
GAP = 4  # pixels between them

Quality = Mapping[str, Mapping[str, Mapping[int, float]]]
"""{task: {what: {steps of the world: error}}}, see `value_model.imagination.quality.quality`."""


def make_world_model(
    context: Context, model: ImaginationConfig, data: Sequence[Data], seed: int, refresh: Path | None = None
) -> Artifact:
    """The world model trained on these data sets, in the artifact's `world_model`; resumes from its checkpoints.

    Args:
        refresh: the folder of one to go on from, see `train_world_model`.
    """

    def build(folder: Path) -> None:
        from value_model.imagination.train import train_world_model

        stores = [part.open() for part in data]
        with Bars(context.tracker, "world_model") as bars:
            scratch = folder / SCRATCH / FOLDER
            world = train_world_model(stores, model, scratch, seed, bars.update, refresh)
        world.save(folder / FOLDER)

    inputs = {"data": digest([part.digest for part in data])}
    if refresh is not None:
        inputs["refresh"] = file_digest(refresh / WEIGHTS)
    recipe = {"model": model, "seed": seed}
    return announce(context.artifacts.make("world_model", VERSION, recipe, inputs, build))


def measure_world_model(
    context: Context, made: Artifact, data: Mapping[str, Sequence[Data]]
) -> tuple[Quality, Path]:
    """Its errors on held-out data sets of each task, and the artifact's folder, with strips in `pictures/<task>.png`."""

    def build(folder: Path) -> None:
        from value_model.imagination.quality import HORIZONS, quality, record, strip
        from value_model.imagination.world_model import load_world_model

        world, found = load_world_model(made.folder / FOLDER), {}
        for task, parts in data.items():
            clips = record(world, [part.open() for part in parts], HORIZONS[-1])
            found[task] = quality(world, clips)
            longest = np.argsort(-clips.there.sum(axis=1), kind="stable")[: STRIPS * 4 : 4]
            strips = [strip(world, clips, int(row), every=2) for row in longest]
            write_png(folder / PICTURES / f"{task}.png", stacked(strips, GAP))
        with atomic_file(folder / "quality.json") as temporary:
            temporary.write_text(json.dumps(found, indent=1))

    inputs = {"world_model": made.digest} | {
        task: digest([part.digest for part in parts]) for task, parts in data.items()
    }
    measured = announce(context.artifacts.make("world_quality", VERSION, None, inputs, build))
    read = json.loads((measured.folder / "quality.json").read_text())
    found = {
        task: {name: {int(count): error for count, error in row.items()} for name, row in one.items()}
        for task, one in read.items()
    }
    return found, measured.folder
