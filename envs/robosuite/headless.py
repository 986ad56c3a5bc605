"""MuJoCo, imported so that it draws without a screen: `from envs.robosuite.headless import mujoco`, in all of `envs`.

MuJoCo chooses how to draw while it is imported, and breaks there when EGL is missing. Here it is told first;
without EGL it still simulates, and `gl_context` says what to install.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
from typing import Any

from envs.errors import UserError

_HELP = "no usable EGL to draw without a screen; run: sudo apt-get install -y libegl1 libgl1 libegl-mesa0"


def _choose_backend() -> None:
    os.environ.setdefault(
        "LP_NUM_THREADS", "0"
    )  # small pictures drawn in software gain nothing from more threads
    if os.environ.setdefault("MUJOCO_GL", "egl") == "egl":
        try:
            ctypes.CDLL("libEGL.so.1")
        except OSError:
            os.environ["MUJOCO_GL"] = "disabled"


def _load_first() -> None:
    """Load Triton, which PyTorch imports when an optimizer is made, before anything is drawn.

    It brings an LLVM of its own. Loaded after the software renderer's, it calls into that one, and the process crashes.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")


_choose_backend()
_load_first()

import mujoco  # noqa: E402


def gl_context(size: int) -> Any:
    """A context to draw pictures of `size` pixels with, made current.

    Raises:
        UserError: there is no EGL to draw with.
    """
    try:
        kind = mujoco.GLContext
        kind._context = None  # its finaliser asks, even when there never was a context
        context = kind(size, size)
        context.make_current()
    except (AttributeError, ImportError, RuntimeError) as error:
        raise UserError(_HELP) from error
    return context
