"""How a critic is fitted to the recordings: its cameras, its rate and how long its clips are.

A typical episode is to be about 28 frames long at the model's rate, as one of 14 seconds is at the published rate of two a
second, but no second is skipped: longer episodes get longer clips instead. The rate is the data's over a whole number.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.store import EpisodeInfo, Store
from experiments.choices.critics import TrainableChoice
from experiments.choices.wan_critics import WanChoice
from experiments.choices.wvm_critics import TrainChoice
from experiments.own_critic.split import EXPERT, Part, kind
from value_model.critic.config import WVMConfig

FRAMES = 28  # of a typical episode at the model's rate
SLOWEST = 1.0  # frames a second at least
SHARE = 1 / 7  # of a typical episode in a clip
LONGEST = 16  # frames of a clip at most


@dataclass(frozen=True)
class Fit:
    """A choice fitted to recordings.

    seconds: of a typical episode under one instruction; model: of the choice, None if it is none of ours.
    """

    choice: TrainableChoice
    seconds: float
    model: WVMConfig | None

    def __str__(self) -> str:
        told = f"a typical episode lasts {self.seconds:.1f} s"
        if self.model is None:
            return told
        clip, size = self.model.clip, self.model.tokenizer.image_size
        return (
            f"{told}: the critic looks at {clip.fps:.3g} frames a second in clips of {clip.horizon} "
            f"({clip.horizon / clip.fps:.3g} s), through {', '.join(self.model.cameras)} at {size}×{size} pixels"
        )


def fit(choice: TrainableChoice, parts: Sequence[Part], given: Collection[str]) -> Fit:
    """The choice with what follows from the recordings, except where the command line says otherwise.

    Args:
        given: keys of the settings on the command line.

    Raises:
        UserError: the data sets have no camera in common.
    """
    seconds = typical_seconds(parts)
    if "model" not in {item.name for item in fields(choice)}:  # type: ignore[arg-type]
        return Fit(choice, seconds, None)
    written: Any = choice  # its model is a field
    start = choice.start() if isinstance(choice, TrainChoice | WanChoice) else None
    rate = parts[0].store.fps
    model: WVMConfig = replace(written.model, data_fps=rate)
    if not _said(given, "critic.cameras") and not _said(given, "critic.model.cameras"):
        model = replace(model, cameras=common_cameras([part.store for part in parts]))
    else:
        model = replace(model, cameras=choice.views())
    if not _said(given, "critic.model.clip.fps"):
        model = replace(model, clip=replace(model.clip, fps=fitting_rate(seconds, rate)))
    if start is not None:
        model = replace(model, clip=replace(model.clip, horizon=start.clip.horizon))
    elif not _said(given, "critic.model.clip.horizon"):
        unit = model.tokenizer.temporal * model.video.patch[0]
        horizon = fitting_horizon(seconds * model.clip.fps, unit)
        model = replace(model, clip=replace(model.clip, horizon=horizon))
    return Fit(replace(written, model=model), seconds, model)


def fitting_rate(seconds: float, fps: float) -> float:
    """Frames a second of the model for episodes of so many seconds, recorded at `fps`.

    14 s at 30 → 2 (every 15th frame); 4 s at 20 → 6.67 (every 3rd); 5 s at 4 → 4; 60 s at 30 → 1.
    """
    wanted = max(FRAMES / seconds, SLOWEST)
    return fps / max(1, round(fps / wanted))


def fitting_horizon(frames: float, unit: int) -> int:
    """Frames of a clip for episodes of so many frames at the model's rate: a multiple of `unit`.

    28 in units of 4 → 4; 60 → 8; 500 → 16.
    """
    return unit * max(1, min(round(frames * SHARE / unit), LONGEST // unit))


def typical_seconds(parts: Sequence[Part]) -> float:
    """Median duration of the stretches under one instruction of the experts to learn from."""
    found: list[float] = []
    for part in parts:
        for info in (part.store.episode_info(index) for index in part.trained):
            if kind(info, part.store.folder) == EXPERT:
                found += [(end - start) / part.store.fps for start, end in bounds(info)]
    return float(np.median(found))


def bounds(info: EpisodeInfo) -> list[tuple[int, int]]:
    """First frame, and the frame after the last, of every stretch under one instruction."""
    return list(pairwise([*(frame for frame, _ in info.instructions), info.length]))


def common_cameras(stores: Sequence[Store]) -> tuple[str, ...]:
    """The cameras that all data sets have.

    Raises:
        UserError: none.
    """
    common = [name for name in stores[0].cameras if all(name in store.cameras for store in stores)]
    if not common:
        told = "; ".join(f"{store.folder} has {', '.join(store.cameras) or 'none'}" for store in stores)
        raise UserError(
            f"no camera to look through in all data: {told} (give one name to both: data.cameras.NAME=…)"
            if len(stores) > 1
            else f"no camera to look through: {told}; a critic judges from pictures"
        )
    return tuple(common)


def _said(given: Collection[str], key: str) -> bool:
    """Whether the command line sets this setting, alone or with the table that holds it."""
    return any(key == one or key.startswith(f"{one}.") for one in given)
