"""Stage `first_picture`: what the cameras show at the start of a test scene, as files to begin imagining from."""

from __future__ import annotations

from pathlib import Path

from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.pictures import write_png
from experiments.lab.progress import announce
from experiments.stages.acting import Acting
from experiments.stages.evaluate import scene_seed

VERSION = 1


def first_picture(context: Context, acting: Acting, number: int) -> Artifact:
    """A PNG of each camera, `<camera>.png`, of the test scene of this number."""

    def build(folder: Path) -> None:
        envs = acting.pool(context.simulators).envs
        shown, _ = envs.reset(seed=[scene_seed(number)] * envs.num_envs)
        for name, pictures in shown["images"].items():
            write_png(folder / f"{name}.png", pictures[0])

    recipe = {"scene": number, **acting.recipe()}
    return announce(context.artifacts.make("first_picture", VERSION, recipe, {}, build))
