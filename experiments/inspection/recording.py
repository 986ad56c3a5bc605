"""A data set as a recording for Rerun's viewer (https://rerun.io): films, values and lapses, an episode after the other.

Needs `pip install 'policy-extraction[rerun]'`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file
from experiments.inspection.episodes import Quality

JPEG = 75  # quality of its pictures


def require_rerun() -> Any:
    """Rerun's library.

    Raises:
        UserError: it is not installed.
    """
    try:
        import rerun
    except ImportError as error:
        raise UserError("rerun= needs Rerun: pip install 'policy-extraction[rerun]'") from error
    return rerun


def write_recording(
    path: Path,
    name: str,
    episodes: Iterable[tuple[Quality, np.ndarray, Mapping[str, np.ndarray]]],
) -> None:
    """Write the episodes: figures, values [T] and {camera: uint8 [T, H, W, 3]} of each.

    The timeline `time` goes through all of them, `frame` starts anew in each.
    """
    rerun = require_rerun()
    with atomic_file(path) as temporary:
        stream = rerun.RecordingStream(name)
        stream.save(str(temporary))
        began = 0.0
        for quality, values, images in episodes:
            _log_episode(rerun, stream, began, quality, values, images)
            began += quality.info.length / quality.fps
        stream.flush()
        stream.disconnect()


def _log_episode(
    rerun: Any,
    stream: Any,
    began: float,
    quality: Quality,
    values: np.ndarray,
    images: Mapping[str, np.ndarray],
) -> None:
    lapse = np.zeros(len(values), bool)
    for part in quality.lapses:
        lapse[part.start : part.end + 1] = True
    for frame, value in enumerate(values):
        stream.set_time("time", duration=began + frame / quality.fps)
        stream.set_time("frame", sequence=frame)
        if frame == 0:
            said = f"episode {quality.info.index}: {quality.info.instruction}"
            stream.log("episode", rerun.TextLog(said))
        if np.isfinite(value):
            stream.log("value", rerun.Scalars(float(value)))
        stream.log("lapse", rerun.Scalars(float(lapse[frame])))
        for camera, frames in images.items():
            stream.log(f"cameras/{camera}", rerun.Image(frames[frame]).compress(jpeg_quality=JPEG))
