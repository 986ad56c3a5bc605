"""Where everything lies in a LeRobotDataset v3.0 folder, and what its `meta/info.json` says.

    meta/info.json  meta/stats.json  meta/tasks.parquet
    meta/episodes/chunk-000/file-000.parquet         one row an episode
    data/chunk-000/file-000.parquet                  one row a frame
    videos/observation.images.<camera>/chunk-000/file-000.mp4

Source: huggingface/lerobot 0.4.4, `src/lerobot/datasets/utils.py`. The columns of our own, `OWN_COLUMNS`,
lie in the episodes' parquet file, where LeRobot's reader lets them be. An outcome that was not recorded is null there;
`next.success`, which knows true and false alone, is false then, and `next.reward` NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from envs.types import Episode

VERSION = "v3.0"
CHUNK_FILES = 1000
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

IMAGE_PREFIX = "observation.images."
PROPRIO = "observation.state"
ENVIRONMENT_STATE = "observation.environment_state"
ACTION = "action"
REWARD = "next.reward"
DONE = "next.done"
SUCCESS = "next.success"

INDEX_FEATURES: dict[str, str] = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}

OWN_COLUMNS: dict[str, pa.DataType] = {
    "success": pa.bool_(),
    "style": pa.string(),
    "segments": pa.list_(pa.struct([("kind", pa.string()), ("start", pa.int64()), ("end", pa.int64())])),
    "seed": pa.int64(),
    "robot": pa.string(),
    "task_name": pa.string(),
    "masks": pa.list_(pa.string()),
}


def chunk_and_file(number: int) -> dict[str, int]:
    """The folder and file numbers of the `number`-th file of a kind."""
    return {"chunk_index": number // CHUNK_FILES, "file_index": number % CHUNK_FILES}


def file_path(folder: Path, template: str, number: int, **names: str) -> Path:
    """The `number`-th file of a kind, its folder made."""
    path = folder / template.format(**chunk_and_file(number), **names)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def number_features(episode: Episode) -> dict[str, tuple[str, int]]:
    """{feature: (dtype, length)} of what an episode keeps in the data files, the index columns last."""
    arrays = {PROPRIO: episode.proprio, ACTION: episode.actions, ENVIRONMENT_STATE: episode.environment_state}
    features = {name: ("float32", array.shape[1]) for name, array in arrays.items() if array.shape[1]}
    features |= {REWARD: ("float32", 1), DONE: ("bool", 1), SUCCESS: ("bool", 1)}
    return features | {name: (dtype, 1) for name, dtype in INDEX_FEATURES.items()}


def video_feature(height: int, width: int, fps: float, codec: str, pixel_format: str) -> dict[str, Any]:
    """The entry of a camera in `info.json`."""
    return {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": height,
            "video.width": width,
            "video.codec": codec,
            "video.pix_fmt": pixel_format,
            "video.is_depth_map": False,
            "video.fps": whole(fps),
            "video.channels": 3,
            "has_audio": False,
        },
    }


def whole(fps: float) -> int | float:
    """An integer where the rate is one, as LeRobot writes it."""
    return int(fps) if float(fps).is_integer() else float(fps)


def make_info(
    features: Mapping[str, Any],
    robot: str,
    fps: float,
    episodes: int,
    frames: int,
    tasks: int,
    sizes: tuple[int, int],
) -> dict[str, Any]:
    """The contents of `meta/info.json`; `sizes` are the largest data and video files in MB."""
    return {
        "codebase_version": VERSION,
        "robot_type": robot,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": sizes[0],
        "video_files_size_in_mb": sizes[1],
        "fps": whole(fps),
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA,
        "video_path": VIDEO,
        "features": dict(features),
    }
