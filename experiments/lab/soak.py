"""Many runs in a row in one process: whether its memory stays, and whether it leaves anything behind, also where stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from experiments.lab.chaos import Begin, end, runs

SETTLED = 4  # runs after which a process has all that it will need
LOOK = 0.2  # seconds from one look at shared memory to the next
GRACE = 20.0  # seconds that what was started by a process may take to notice its end
SHARED = Path("/dev/shm")


@dataclass
class Soak:
    """memory: of the process, bytes, after each run; left: {how it ended: processes and segments that outlived it}."""

    memory: list[int] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=dict)

    @property
    def growth(self) -> float:
        """Share by which the memory after the last run exceeds that after it has settled."""
        return self.memory[-1] / self.memory[min(SETTLED, len(self.memory)) - 1] - 1


def soak(begin: Begin, outputs: Path, count: int) -> Soak:
    """Do the runs, each of which ends with a report in `outputs`/runs; begin them twice more, and stop them amid the second.

    Args:
        begin: begins all of them, in a session of their own.

    Raises:
        RuntimeError: a run failed by itself.
    """
    found = Soak()
    for how, sent in (("to the end", None), ("Ctrl-C", signal.SIGINT), ("SIGTERM", signal.SIGTERM)):
        place, used = outputs / how, set[str]()
        process = begin(place)
        _follow(process, place, count if sent is None else 1, found.memory if sent is None else [], used)
        if sent is not None:
            time.sleep(1.0)
            used |= _segments(process)
            os.killpg(process, sent) if sent == signal.SIGINT else os.kill(process, sent)
            os.waitpid(process, 0)
        else:
            end(process, place)
        found.left[how] = _left(process, used)
    return found


def _follow(process: int, outputs: Path, count: int, memory: list[int], used: set[str]) -> None:
    """Until so many reports are written; the process's memory after each, and the segments of shared memory that it used."""
    seen, looked = 0, 0.0
    while seen < count and runs(process):
        written = len(list(outputs.glob("runs/*/results.json")))
        if written > seen:
            seen = written
            memory.append(_memory(process))
        if time.monotonic() - looked > LOOK:
            used |= _segments(process)
            looked = time.monotonic()
        time.sleep(0.02)


def _memory(process: int) -> int:
    """Bytes that it has to itself, and its share of what it has with others."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _segments(session: int) -> set[str]:
    """Names of the shared memory that a session's processes have before them."""
    found = set()
    for folder in _members(session):
        with suppress(OSError):
            lines = (folder / "maps").read_text().splitlines()
            found |= {line.split(f" {SHARED}/")[1].split()[0] for line in lines if f" {SHARED}/" in line}
    return found


def _left(session: int, used: set[str]) -> list[str]:
    """What is left of a session that has ended, and of its shared memory, once everybody had time to notice."""

    def look() -> list[str]:
        return [*map(_name, _members(session)), *sorted(used & set(os.listdir(SHARED)))]

    return _once(look)


def _once(look: Callable[[], list[str]]) -> list[str]:
    ends = time.monotonic() + GRACE
    while (found := look()) and time.monotonic() < ends:
        time.sleep(0.1)
    return found


def _members(session: int) -> list[Path]:
    """The folders of a session's processes in /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, own = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(own) == session and state != "Z":
                found.append(folder)
    return found


def _name(folder: Path) -> str:
    """What a process was started as."""
    with suppress(OSError):
        return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80]
    return folder.name
