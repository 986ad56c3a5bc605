"""Pictures kept in the rows themselves, as PNG or JPEG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from envs.errors import UserError
from envs.files import inside


def read_pictures(column: pa.ChunkedArray, folder: Path, feature: str) -> np.ndarray:
    """uint8 [T, H, W, 3] of the rows of an episode: structs of `bytes`, or else of a `path` in the folder.

    Raises:
        UserError: one is damaged, missing, outside of the folder, or of another size than the first.
    """
    frames = []
    for cell in column.to_pylist():
        source = io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else inside(folder, cell["path"])
        try:
            frames.append(np.asarray(Image.open(source).convert("RGB")))
        except (UnidentifiedImageError, OSError) as error:
            raise UserError(
                f"an image of {feature} in {folder} is damaged ({error}); leave its episode out (data.exclude), "
                "or download it again"
            ) from error
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(
            f"the images of {feature} in {folder} change their size within an episode; leave it out"
        )
    return np.stack(frames)
