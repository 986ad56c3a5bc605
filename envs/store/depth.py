"""Which features of a data set are colour pictures: depth is flagged in three spellings, or only seen in the files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

FLAGS = ("is_depth_map", "video.is_depth_map")
PLACES = ("info", "video_info")
DEEP_MODES = ("I", "F")  # of PIL: 16 or 32 bits a pixel, one channel


def flagged_depth(feature: Mapping[str, Any]) -> bool:
    """Whether `info.json` says that a feature is a depth map: in `info`, `video_info` or the feature itself."""
    places = [feature, *(feature.get(place) or {} for place in PLACES)]
    if any(str(place.get(flag)).lower() in ("true", "1") for place in places for flag in FLAGS):
        return True
    stored = [str(place.get("video.pix_fmt") or place.get("pix_fmt") or "") for place in places]
    return any(name.startswith("gray") and name not in ("gray", "gray8") for name in stored)


def deep_pictures(parquet: pq.ParquetFile, feature: str) -> bool:
    """Whether the first picture of a column has one channel of more than eight bits."""
    for batch in parquet.iter_batches(batch_size=1, columns=[feature]):
        cell = batch.column(0)[0].as_py()
        content = cell.get("bytes") if isinstance(cell, dict) else None
        if content is None:
            return False
        try:
            return Image.open(io.BytesIO(content)).mode.split(";")[0] in DEEP_MODES
        except (UnidentifiedImageError, OSError):
            return False  # damaged: said when it is read
    return False


def picture_size(feature: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of a camera, from the shape in `info.json`, whichever way it is written; (0, 0): not said."""
    shape = [int(size) for size in feature.get("shape") or ()]
    names = [str(name) for name in feature.get("names") or ()]
    if len(names) == len(shape) and {"height", "width"} <= set(names):
        return shape[names.index("height")], shape[names.index("width")]
    if len(shape) != 3:
        return (shape[0], shape[1]) if len(shape) == 2 else (0, 0)
    return (shape[1], shape[2]) if shape[0] in (1, 3, 4) and shape[2] > 4 else (shape[0], shape[1])
