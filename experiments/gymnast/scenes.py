"""Stage `first_picture`: what the cameras show at the start of a test scene, as files to begin imagining from."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from envs.files import atomic_file
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.progress import announce
from experiments.stages.acting import Acting
from experiments.stages.evaluate import test_scene

VERSION = 1


def first_picture(context: Context, acting: Acting, number: int) -> Artifact:
    """A PNG of each camera, `<camera>.png`, of the test scene of this number."""

    def build(folder: Path) -> None:
        envs = acting.pool(context.simulators).envs
        shown, _ = envs.reset(seed=[test_scene(number)] * envs.num_envs)
        for name, pictures in shown["images"].items():
            with atomic_file(folder / f"{name}.png") as temporary:
                Image.fromarray(pictures[0]).save(temporary, format="png")

    recipe = {"scene": number, **acting.recipe()}
    return announce(context.artifacts.make("first_picture", VERSION, recipe, {}, build))
