"""What made a result: the commit, and the versions of the libraries that matter. It stands beside results, in no digest."""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("numpy", "jax", "flax", "optax", "mujoco", "robosuite")
IF_USED = ("torch",)  # named where it was imported


def made_by(root: Path = ROOT) -> dict[str, Any]:
    """{commit, dirty, versions}: commit and dirty (files of the project differ from it) are None outside a checkout."""
    commit = (
        _git(root, "rev-parse", "HEAD") if _git(root, "rev-parse", "--show-toplevel") == str(root) else None
    )
    dirty = None if commit is None else bool(_git(root, "status", "--porcelain"))
    names = [*LIBRARIES, *(name for name in IF_USED if name in sys.modules)]
    versions = {"python": platform.python_version(), **{name: _version(name) for name in names}}
    return {"commit": commit, "dirty": dirty, "versions": versions}


def _git(root: Path, *arguments: str) -> str | None:
    """What git says; None where there is no git, or it knows nothing of the folder."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
