"""Stage `world_model`: a world model trained on data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.lab.artifacts import SCRATCH, Artifact, digest, file_digest
from experiments.lab.context import Context
from experiments.lab.progress import Bars, announce
from experiments.stages.data import Data
from value_model.imagination.config import WEIGHTS, ImaginationConfig

VERSION = 5
FOLDER = "world_model"


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
