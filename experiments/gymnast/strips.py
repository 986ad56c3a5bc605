"""Stage `side_by_side`: a policy from the same first pictures in both places, as a picture: real above, imagined below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from envs.contract import Start
from envs.files import atomic_file
from envs.rollout import Actor, Film, Rollout
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
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
        rows = [np.concatenate(_even([_row(a), _row(b)])) for a, b in zip(first, second, strict=True)]
        padded = [np.pad(row, ((0, GAP), (0, 0), (0, 0))) for row in _even(rows)]
        with atomic_file(folder / PICTURE) as temporary:
            Image.fromarray(np.concatenate(padded)).save(temporary, format="png")

    recipe = {"real": real.recipe(), "imagined": imagined.recipe(), "episodes": episodes, "seed": seed}
    return announce(context.artifacts.make("side_by_side", VERSION, recipe, {"policy": policy}, build))


def _start(rollout: Rollout) -> Start:
    """Where it began."""
    film = _film(rollout)
    images = {name: pictures[0] for name, pictures in film.images.items()}
    return Start(rollout.seed, images=images, proprio=film.proprio[0])


def _row(rollout: Rollout) -> np.ndarray:
    """Its pictures side by side, the cameras one above the other: uint8 [H, W, 3]; framed in green where it succeeded."""
    film = _film(rollout)
    views = [np.concatenate(list(pictures), axis=1) for pictures in film.images.values()]
    row = np.concatenate(views)
    if rollout.success:
        row[:2], row[-2:] = (0, 170, 60), (0, 170, 60)
    return row


def _even(rows: list[np.ndarray]) -> list[np.ndarray]:
    """Padded to the widest."""
    wide = max(row.shape[1] for row in rows)
    return [np.pad(row, ((0, 0), (0, wide - row.shape[1]), (0, 0))) for row in rows]


def _film(rollout: Rollout) -> Film:
    assert rollout.recording is not None and rollout.recording.film is not None, "it was filmed"
    return rollout.recording.film
