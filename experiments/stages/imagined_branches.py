"""Stage `branches_imagined`: what was done from recorded states, imagined from the same pictures.

Dimension letters: see `experiments.stages.branches`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from envs.contract import ChunkEnvs, Start
from envs.files import load_arrays, save_arrays
from envs.recording import Film, joined_films, row_film
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.stages.acting import Acting
from experiments.stages.branches import BRANCHES, IMAGINED, filmed

VERSION = 1


def imagine_branches(context: Context, acting: Acting, every: int, real: Artifact) -> Artifact:
    """The same actions from the same pictures, imagined.

    Args:
        acting: where, with chunks as long as a branch; every: control steps between the moments of a film.
    """

    def build(folder: Path) -> None:
        arrays = load_arrays(real.folder / BRANCHES)[0]
        envs, films = acting.pool(context.simulators).envs, []
        size = len(arrays["action"]) // len(arrays["seed"])
        with bar("imagine branches", len(arrays["action"]), "branches") as shown:
            for first in range(0, len(arrays["action"]), envs.num_envs):
                rows = np.arange(first, min(first + envs.num_envs, len(arrays["action"])))
                films += _imagined(envs, arrays, rows, arrays["seed"][rows // size], every)
                shown.update(len(rows))
        save_arrays(folder / IMAGINED, filmed(films, arrays["progress"].shape[1]))

    inputs = {"branches": real.digest}
    return announce(
        context.artifacts.make(
            "branches_imagined", VERSION, {**acting.recipe(), "every": every}, inputs, build
        )
    )


def _imagined(
    envs: ChunkEnvs, arrays: Mapping[str, np.ndarray], rows: np.ndarray, drawn: np.ndarray, every: int
) -> Iterator[Film]:
    """The films of these branches, which fill the first rows of the environment."""
    count = envs.num_envs
    filled = np.resize(np.arange(len(rows)), count)
    cameras = envs.env_spec.cameras
    starts = [
        Start(
            int(drawn[place]),
            images={camera: arrays[f"images.{camera}"][rows[place], 0] for camera in cameras},
            proprio=arrays["proprio"][rows[place], 0],
        )
        for place in filled
    ]
    options = {"reset_mask": np.ones(count, bool), "film": np.full(count, every), "starts": starts}
    _, began = envs.reset(seed=[start.seed for start in starts], options=options)
    info = envs.step(arrays["action"][rows[filled]])[4]
    for row in range(len(rows)):
        yield joined_films([row_film(shown["film"], row, cameras) for shown in (began, info)])
