"""A critic behind HTTP: POST /values takes frames and an instruction and gives a value for every frame.

    {"frames": [picture, …], "instruction": "…", "fps": 20}  ->  {"values": [0.0, …]}

As JSON a picture is a PNG or JPEG in base64; as msgpack (Content-Type: application/msgpack) frames are one array
uint8 [T, H, W, 3] in openpi's form, and so are the values. A critic of several cameras is given {camera: frames}, or
frames that have its views side by side. What several clients ask at the same time is computed together.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from envs.errors import UserError
from policy_extraction.remote.messages import pack, unpack_map

MSGPACK = "application/msgpack"
JSON = "application/json"
LARGEST_SIDE = 4096  # pixels of a picture
MOST_BYTES = 2**28  # of all pictures of a question, decoded


@dataclass(frozen=True)
class Question:
    """What a client asks. frames: uint8 [T, H, W · cameras, 3]; fps: frames a second, None for the critic's own."""

    frames: np.ndarray
    instruction: str
    fps: float | None


def read_question(body: bytes, kind: str, cameras: Sequence[str], most_frames: int) -> Question:
    """The question that a request's body holds.

    Args:
        kind: its Content-Type; cameras: the critic's views.

    Raises:
        UserError: what is wrong with it.
    """
    content = unpack_map(body) if kind == MSGPACK else _json(body)
    instruction, fps = content.get("instruction"), content.get("fps")
    if not isinstance(instruction, str) or not instruction.strip():
        raise UserError("'instruction' must be a text that says what the robot is to do")
    if fps is not None and not (isinstance(fps, int | float) and not isinstance(fps, bool) and 0 < fps < 1e4):
        raise UserError("'fps' must be a positive number, or left out")
    frames = content.get("frames")
    if isinstance(frames, Mapping):
        missing = [name for name in cameras if name not in frames]
        if missing:
            raise UserError(f"the critic sees {', '.join(cameras)}; 'frames' has no {missing[0]!r}")
        views = [_frames(frames[name], most_frames) for name in cameras]
        if len({view.shape[:2] for view in views}) > 1:
            raise UserError("the cameras of 'frames' differ in number or height of their frames")
        return Question(np.concatenate(views, axis=2), instruction, fps)
    return Question(_frames(frames, most_frames), instruction, fps)


def write_values(values: np.ndarray, kind: str) -> bytes:
    """The answer's body, in the form of the question."""
    if kind == MSGPACK:
        return pack({"values": values.astype(np.float32)})
    return json.dumps({"values": [None if np.isnan(value) else float(value) for value in values]}).encode()


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the body is not JSON ({error}); for msgpack say Content-Type: {MSGPACK}") from error
    if not isinstance(content, dict):
        raise UserError("the body must be a JSON object with 'frames' and 'instruction'")
    return content


def _frames(given: Any, most: int) -> np.ndarray:
    """Frames uint8 [T, H, W, 3]."""
    if isinstance(given, np.ndarray):
        if given.dtype != np.uint8 or given.ndim != 4 or given.shape[3] != 3 or not given.size:
            raise UserError(
                f"'frames' must be uint8 [T, H, W, 3], not {given.dtype} {list(given.shape)}; one picture is [1, H, W, 3]"
            )
        if max(given.shape[1:3]) > LARGEST_SIDE:
            raise UserError(f"pictures may have at most {LARGEST_SIDE} pixels a side")
        pictures: Sequence[Any] = given
    elif isinstance(given, list) and given:
        pictures = given
    else:
        raise UserError("'frames' must be a list of pictures in base64, an array, or {camera: either}")
    if len(pictures) > most:
        raise UserError(f"{len(pictures)} frames are more than the {most} that are taken at once; send fewer")
    if isinstance(given, np.ndarray):
        return given
    decoded: list[np.ndarray] = []
    for number, picture in enumerate(pictures):
        decoded.append(_picture(picture, number))
        if len(given) * decoded[0].nbytes > MOST_BYTES:
            raise UserError("the pictures of 'frames' are too large for so many; send them smaller, or fewer")
        if decoded[-1].shape != decoded[0].shape:
            raise UserError("the pictures of 'frames' differ in size")
    return np.stack(decoded)


def _picture(encoded: Any, number: int) -> np.ndarray:
    """A picture uint8 [H, W, 3] from its PNG or JPEG in base64; its size is looked at before it is decoded."""
    try:
        opened = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)), formats=("PNG", "JPEG"))
        if max(opened.size) > LARGEST_SIDE:
            raise UserError(f"pictures may have at most {LARGEST_SIDE} pixels a side")
        return np.asarray(opened.convert("RGB"))
    except UserError:
        raise
    except (TypeError, ValueError, OSError, SyntaxError, binascii.Error, UnidentifiedImageError) as error:
        raise UserError(f"picture {number} of 'frames' is no PNG or JPEG in base64") from error
