"""Stage `side_by_side`: a policy from the same first pictures in both places, as a picture: real above, imagined below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from envs.contract import Start
from envs.rollout import Actor, Rollout
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.pictures import stacked, write_png
from experiments.lab.progress import announce
from experiments.lab.seeds import seeds
from experiments.stages.acting import Acting

VERSION = 1
EVERY = 8  # control steps from one picture to the next
PICTURE = "strip.png"
GAP = 4  # pixels between episodes


def side_by_side(
    context: Context,
    real: Acting,
    imagined: Acting,
    make_actor: Callable[[], Actor],
    policy: str,
    episodes: int,
    seed: int,
) -> Artifact:
    """`strip.png` of the first episodes of the seeds of `fidelity`.

    Args:
        policy: the digest of who acts.
    """

    def build(folder: Path) -> None:
        chosen, actor = seeds("fidelity", seed, episodes).tolist(), make_actor()
        first = real.pool(context.simulators).rollout(actor, chosen, record=True, film=EVERY)
        starts = [_start(rollout) for rollout in first]
        second = imagined.pool(context.simulators).rollout(actor, starts, record=True, film=EVERY)
        rows = [stacked([_row(a), _row(b)]) for a, b in zip(first, second, strict=True)]
        write_png(folder / PICTURE, stacked(rows, GAP))

    recipe = {"real": real.recipe(), "imagined": imagined.recipe(), "episodes": episodes, "seed": seed}
    return announce(context.artifacts.make("side_by_side", VERSION, recipe, {"policy": policy}, build))


def _start(rollout: Rollout) -> Start:
    """Where it began."""
    film = rollout.filmed
    images = {name: pictures[0] for name, pictures in film.images.items()}
    return Start(rollout.seed, images=images, proprio=film.proprio[0])


def _row(rollout: Rollout) -> np.ndarray:
    """Its pictures side by side, the cameras one above the other: uint8 [H, W, 3]; framed in green where it succeeded."""
    views = [np.concatenate(list(pictures), axis=1) for pictures in rollout.filmed.images.values()]
    row = np.concatenate(views)
    if rollout.success:
        row[:2], row[-2:] = (0, 170, 60), (0, 170, 60)
    return row
