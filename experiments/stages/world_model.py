"""Stage `world_model`: a world model trained on data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envs.files import copy_file
from experiments.lab.artifacts import SCRATCH, Artifact, digest, file_digest
from experiments.lab.context import Context
from experiments.lab.progress import Bars, announce
from experiments.stages.data import Data
from value_model.imagination.config import WEIGHTS, ImaginationConfig
from value_model.joint.config import CRITIC, CRITIC_WEIGHTS, JointConfig

VERSION = 5
FOLDER = "world_model"


def make_world_model(
    context: Context,
    model: ImaginationConfig,
    data: Sequence[Data],
    seed: int,
    refresh: Path | None = None,
    critic: JointConfig | None = None,
) -> Artifact:
    """The world model trained on these data sets, in the artifact's `world_model`; resumes from its checkpoints.

    Args:
        refresh: the folder of one to go on from, see `train_world_model`.
        critic: one that is trained beside it, if any.
    """

    def build(folder: Path) -> None:
        from value_model.imagination.train import train_world_model
        from value_model.joint.train import train_joint
        from value_model.video import hosts

        stores, scratch = [part.open() for part in data], folder / SCRATCH / FOLDER
        with Bars(context.tracker, "world_model") as bars:
            if critic is not None:
                world = train_joint(stores, model, critic, scratch, seed, bars.update, refresh)
            else:
                world = train_world_model(stores, model, scratch, seed, bars.update, refresh)
        if not hosts.writes():
            return
        world.save(folder / FOLDER)
        for name in (CRITIC, CRITIC_WEIGHTS) if critic is not None else ():
            copy_file(scratch / name, folder / FOLDER / name)

    inputs = {"data": digest([part.digest for part in data])}
    if refresh is not None:
        inputs["refresh"] = file_digest(refresh / WEIGHTS)
    recipe = {"model": model, "seed": seed} | ({} if critic is None else {"critic": critic})
    return announce(context.artifacts.make("world_model", VERSION, recipe, inputs, build, over="jax"))
