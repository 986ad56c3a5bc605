"""What a page reads of a data set: as a whole, and an episode at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from envs.store import EpisodeInfo, Store
from experiments.inspection.episodes import Quality
from experiments.inspection.keep import Keep, commands
from experiments.inspection.pictures import Sheets


def about(store: Store, infos: Sequence[EpisodeInfo], critic: str, keep: Keep) -> dict[str, Any]:
    """What a page says of a data set as a whole."""
    frames = sum(info.length for info in infos)
    minutes = frames / store.fps / 60
    cameras = ", ".join(store.cameras) or "no camera"
    facts = (
        f"{len(infos)} episodes, {frames} frames, {minutes:.1f} minutes at {store.fps:g} frames a second · {cameras} · "
        f"{critic}"
    )
    return {
        "title": f"{store.folder.resolve().name}: episodes",
        "facts": facts,
        "data_set": str(store.folder.resolve()),
        "commands": asdict(commands(store.folder)),
        "keep": asdict(keep),
    }


def page_rows(
    store: Store,
    described: Iterable[tuple[Quality, np.ndarray]],
    keep: Keep,
    sheets: Sheets,
    seen: list[Quality],
) -> Iterator[dict[str, Any]]:
    """Every episode, with its values [T], as the page reads it; what is said of it is put into `seen`."""
    for quality, values in described:
        seen.append(quality)
        index = quality.info.index
        sheet = sheets.draw({camera: store.frames(index, camera) for camera in store.cameras})
        yield {
            **quality.json(values),
            "keep": keep.takes(quality),
            "sheet": sheet.json() if sheet else None,
        }
