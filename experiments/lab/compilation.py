"""What JAX compiles is kept in the outputs folder: the same work compiles nothing the second time."""

from __future__ import annotations

import os
import time
import warnings
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jax

_SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"  # what is compiled faster than this is not kept
_CHECKED = "checked"  # a file as old as the last look at all the others
_SLACK = 2 * 10**9  # nanoseconds by which clocks of files and of the machine may differ
_ZSTANDARD = bytes.fromhex("28b52ffd")  # begins what JAX compresses with this library, where it is installed


@dataclass
class Compilation:
    """What JAX has compiled in this process, and what it has read back. seconds are of both together."""

    requests: int = 0
    read: int = 0
    seconds: float = 0.0
    reading_seconds: float = 0.0

    def __str__(self) -> str:
        """One line for the user."""
        compiled, seconds = self.requests - self.read, self.seconds - self.reading_seconds
        return (
            f"compiled {compiled} programs in {seconds:.1f} s, "
            f"read {self.read} compiled before in {self.reading_seconds:.1f} s"
        )


@cache
def watch_compilation() -> Compilation:
    """Count from now on; every call gives the same counts."""
    found = Compilation()

    def count(event: str, **_: str | int) -> None:
        found.read += event == "/jax/compilation_cache/cache_hits"

    def add(event: str, seconds: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":  # reading included
            found.requests += 1
            found.seconds += seconds
        elif event == "/jax/compilation_cache/cache_retrieval_time_sec":
            found.reading_seconds += seconds

    jax.monitoring.register_event_listener(count)
    jax.monitoring.register_event_duration_secs_listener(add)
    return found


def keep_compiled(folder: Path) -> None:
    """Let JAX keep all that it compiles in `folder`, and read there what was compiled before.

    Where the environment names another (`JAX_COMPILATION_CACHE_DIR`), that is used. Processes may share a folder: a program
    that another one is just writing cannot be read yet and is compiled once more. JAX does not write atomically
    and never replaces a file: what a killed process left half-written is removed here.
    """
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))
    if _SHORTEST not in os.environ:
        jax.config.update(_SHORTEST.lower(), 0.0)
    remove_damaged(Path(jax.config.jax_compilation_cache_dir))
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    watch_compilation()


def remove_damaged(folder: Path) -> None:
    """Remove the compiled programs in `folder` that are not whole; what was looked at before is not read again."""
    checked = folder / _CHECKED
    before = checked.stat().st_mtime_ns if checked.exists() else 0
    now = time.time_ns()
    for file in folder.glob("*-cache"):
        try:
            if file.stat().st_mtime_ns >= before and not _whole(file.read_bytes()):
                file.unlink(missing_ok=True)
        except FileNotFoundError:  # another process was faster
            continue
    if folder.is_dir():
        checked.touch()
        os.utime(checked, ns=(now - _SLACK, now - _SLACK))


def _whole(entry: bytes) -> bool:
    if entry.startswith(_ZSTANDARD):
        return True  # cannot be told without that library
    try:
        zlib.decompress(entry)
    except zlib.error:
        return False
    return True
