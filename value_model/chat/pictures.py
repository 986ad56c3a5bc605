"""What a chat is made of: words and pictures as OpenAI's protocol wants them."""

from __future__ import annotations

import base64
import io
from typing import Any, Literal

import numpy as np
from PIL import Image

JPEG_QUALITY = 90  # of 100


def shrink(frame: np.ndarray, longest: int) -> np.ndarray:
    """A picture uint8 [H, W, 3] with no side longer than `longest` pixels; never enlarged."""
    image = Image.fromarray(frame)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(image)


def text_part(text: str) -> dict[str, Any]:
    """Words of a message."""
    return {"type": "text", "text": text}


def image_part(frame: np.ndarray, kind: Literal["png", "jpeg"] = "png") -> dict[str, Any]:
    """A picture uint8 [H, W, 3] of a message, in a data URL."""
    buffer = io.BytesIO()
    options = {"quality": JPEG_QUALITY} if kind == "jpeg" else {}
    Image.fromarray(frame).save(buffer, kind, **options)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}
