"""Starts of one's own: a picture of each camera, from which a world model imagines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from envs.errors import UserError
from value_model.imagination.starts import StartBank
from value_model.imagination.world_model import WorldModel
from value_model.video.frames import resize

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # of at most eight bits a channel


def read_picture(path: Path, size: int) -> np.ndarray:
    """A picture as a camera of `size` pixels would show it: upright, in colour, uint8 [size, size, 3].

    Raises:
        UserError: it cannot be read, is not square or too small, has transparent parts, or more than eight bits a channel.
    """
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except (OSError, Image.DecompressionBombError, ValueError) as error:
        raise UserError(f"{path} is not a picture that can be read ({error})") from error
    if picture.mode not in MODES:
        raise UserError(f"{path} has pixels of type {picture.mode}; save it with eight bits a channel")
    if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
        raise UserError(f"{path} has transparent parts; put it on a background")
    width, height = picture.size
    if width != height:
        raise UserError(f"{path} has {width}×{height} pixels; the world model sees squares: crop it to one")
    if width < size:
        raise UserError(f"{path} has {width}×{height} pixels; the world model needs {size}×{size} or more")
    return resize(np.asarray(picture.convert("RGB"))[None], size, size)[0]


def own_scenes(world: WorldModel, folder: Path, instruction: str) -> StartBank:
    """A start of every scene in a folder, `<scene>/<camera>.png`, see `own_start`.

    Raises:
        UserError: there is no scene, or one lacks a camera's picture, see also `read_picture`.
    """
    scenes = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not scenes:
        raise UserError(f"{folder} has no folder of a scene; each holds a picture of every camera")
    shown = []
    for scene in scenes:
        files = [scene / f"{camera}.png" for camera in world.config.cameras]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise UserError(f"{scene} has no {', '.join(missing)}; a scene needs a picture of every camera")
        shown.append(_beside(world, files))
    return _starts(world, shown, instruction)


def own_start(world: WorldModel, paths: Sequence[Path], instruction: str) -> StartBank:
    """The one start that shows these pictures; proprioception, which no picture shows, is the mean of recorded starts'.

    Args:
        paths: of a picture for each of the model's cameras, in their order.

    Raises:
        UserError: too few or too many pictures, see also `read_picture`.
    """
    config = world.config
    if len(paths) != len(config.cameras):
        raise UserError(
            f"{len(paths)} pictures to begin from, the world model sees {len(config.cameras)}: give one of each of "
            f"{', '.join(config.cameras)}, in this order"
        )
    return _starts(world, [_beside(world, paths)], instruction)


def _beside(world: WorldModel, paths: Sequence[Path]) -> np.ndarray:
    """A picture of each camera as the world model sees them, uint8 [size, size · cameras, 3]."""
    size = world.config.tokenizer.image_size
    return np.concatenate([read_picture(path, size) for path in paths], axis=1)


def _starts(world: WorldModel, shown: Sequence[np.ndarray], instruction: str) -> StartBank:
    """One that shows each."""
    count = len(shown)
    return StartBank(
        latents=world.encoder.encode(np.stack(shown)).astype(np.float16),
        proprio=np.tile(world.starts.usual_proprio(), (count, 1)),
        frame=np.zeros(count, np.int32),
        instruction=(instruction,) * count,
    )
