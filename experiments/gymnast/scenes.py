"""Stages `first_picture`, `scene_pictures`: what cameras show at the start of scenes, as files to begin imagining from."""

from __future__ import annotations

from pathlib import Path

from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.pictures import write_png
from experiments.lab.progress import announce
from experiments.lab.seeds import seeds
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


def scene_pictures(context: Context, acting: Acting, seed: int, count: int) -> Artifact:
    """A PNG of each camera, `<scene>/<camera>.png`, of so many scenes that nothing else begins at."""

    def build(folder: Path) -> None:
        envs, chosen = acting.pool(context.simulators).envs, seeds("start_pictures", seed, count).tolist()
        for first in range(0, count, envs.num_envs):
            block = chosen[first : first + envs.num_envs]
            shown, _ = envs.reset(seed=[*block, *[block[-1]] * (envs.num_envs - len(block))])
            for name, pictures in shown["images"].items():
                for number, picture in enumerate(pictures[: len(block)], start=first):
                    write_png(folder / f"{number:04d}" / f"{name}.png", picture)

    recipe = {"seed": seed, "count": count, **acting.recipe()}
    return announce(context.artifacts.make("scene_pictures", VERSION, recipe, {}, build))
