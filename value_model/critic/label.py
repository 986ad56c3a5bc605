"""Labelling a data set: a critic's value of every frame, written as a progress sidecar while it streams by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.store import Store
from value_model.critic.progress import write_progress


@dataclass(frozen=True)
class LabelReport:
    """What labelling took: frames, wall-clock seconds (reading and compiling included) and frames a second, None where the
    values were known.
    """

    frames: int
    seconds: float
    frames_per_s: float | None


def label_store(
    values: Iterable[np.ndarray],
    store: Store,
    path: Path,
    progress: Callable[[int], object] | None = None,
    reward_model_path: str = "",
) -> LabelReport:
    """Write a critic's values of every frame of the store to `path`; memory does not grow with the episodes.

    Args:
        values: float32 [T] of every episode, in order, see `stretches.label_stretches`; read as they are written.
        progress: called with a number of frames whenever that many more are done.
        reward_model_path: noted in the file.

    Raises:
        UserError: the critic cannot read the data set, or gave values outside [0, 1] (NaN, unknown, it may give).
    """
    begin = time.perf_counter()

    def counted() -> Iterator[np.ndarray]:
        for one in values:
            yield one
            if progress is not None:
                progress(len(one))

    write_progress(path, store, counted(), reward_model_path)
    seconds = time.perf_counter() - begin
    return LabelReport(store.total_frames, seconds, store.total_frames / seconds)
