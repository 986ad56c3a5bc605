"""What goes over the wire: msgpack with numpy arrays, as openpi's servers and clients speak it. Nothing is ever unpickled.

An array is the map {b"__ndarray__": True, b"data": its bytes in C order, b"dtype": its type as numpy writes it, b"shape":
its shape}, a numpy scalar {b"__npgeneric__": True, b"data": its value, b"dtype": its type}. Of what comes in, no more is
kept than the message's own bytes: a shape that does not fit its bytes is refused before an array is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from envs.errors import UserError

KINDS = (
    "biufSU"  # of arrays: truth values, whole and real numbers, texts; no objects, records or complex numbers
)


class MalformedMessage(UserError):
    """A message that is not of the protocol."""


def pack(content: Any) -> bytes:
    """A message.

    Raises:
        UserError: it holds what the protocol has no form for.
    """
    try:
        return bytes(msgpack.Packer(default=_plain).pack(content))
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"cannot be sent: {error}") from error


def unpack(message: bytes) -> Any:
    """What a message holds; its arrays are read-only.

    Raises:
        MalformedMessage: it is not msgpack, or an array in it is damaged or of a kind that is not sent.
    """
    try:
        return msgpack.unpackb(message, object_hook=_restored)
    except MalformedMessage:
        raise
    except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
        raise MalformedMessage(f"not a message of msgpack ({error})") from error


def unpack_map(message: object) -> dict[str, Any]:
    """A message that holds names and values.

    Raises:
        MalformedMessage: it is a text or damaged, or holds something else.
    """
    if not isinstance(message, bytes):
        raise MalformedMessage("a text came where a message of msgpack is expected")
    content = unpack(message)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise MalformedMessage("the message holds no names and values")
    return content


def _plain(thing: Any) -> Any:
    """The form of what msgpack itself has none for."""
    if isinstance(thing, np.ndarray | np.generic) and thing.dtype.kind not in KINDS:
        raise TypeError(f"arrays of type {thing.dtype} are not sent")
    if isinstance(thing, np.ndarray):
        return {
            b"__ndarray__": True,
            b"data": thing.tobytes(),
            b"dtype": thing.dtype.str,
            b"shape": thing.shape,
        }
    if isinstance(thing, np.generic):
        return {b"__npgeneric__": True, b"data": thing.item(), b"dtype": thing.dtype.str}
    raise TypeError(f"{type(thing).__name__} is not sent; use numbers, texts, lists, maps and arrays")


def _restored(content: dict[Any, Any]) -> Any:
    """The array or scalar that a map stands for; any other map as it is."""
    if b"__ndarray__" in content:
        return _array(content)
    if b"__npgeneric__" in content:
        return _dtype(content).type(content.get(b"data"))
    return content


def _array(content: Mapping[Any, Any]) -> np.ndarray:
    kind, data, shape = _dtype(content), content.get(b"data"), content.get(b"shape")
    sizes = shape if isinstance(shape, list) else []
    if not isinstance(data, bytes) or sizes != shape or not all(type(n) is int and n >= 0 for n in sizes):
        raise MalformedMessage("an array without bytes and a shape")
    if math.prod(sizes) * kind.itemsize != len(data):
        raise MalformedMessage(f"an array of {len(data)} bytes cannot have shape {sizes} and type {kind}")
    if not kind.itemsize:
        raise MalformedMessage("an array of texts without letters")
    return np.frombuffer(data, kind).reshape(sizes)


def _dtype(content: Mapping[Any, Any]) -> np.dtype:
    name = content.get(b"dtype")
    if not isinstance(name, str):
        raise MalformedMessage("an array without a type")
    try:
        kind = np.dtype(name)
    except (TypeError, ValueError, SyntaxError) as error:
        raise MalformedMessage(f"an array of unknown type {name[:40]!r}") from error
    if kind.kind not in KINDS or kind.hasobject or kind.subdtype:
        raise MalformedMessage(f"arrays of type {name[:40]!r} are not taken")
    return kind
