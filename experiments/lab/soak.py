"""Many runs in a row in one process: whether its memory stays, and whether it leaves anything behind, also where stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from experiments.lab.chaos import Begin

SETTLED = 4  # runs after which a process has all that it will need
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


def soak(begin: Begin, outputs: Path, runs: int) -> Soak:
    """Do the runs, each of which ends with a report in `outputs`/runs; begin them twice more, and stop them amid the second.

    Args:
        begin: begins all of them, in a session of their own.

    Raises:
        RuntimeError: a run failed by itself.
    """
    found = Soak()
    for how, sent in (("to the end", None), ("Ctrl-C", signal.SIGINT), ("SIGTERM", signal.SIGTERM)):
        before, place = _segments(), outputs / how
        process = begin(place)
        _follow(process, place, runs if sent is None else 1, found.memory if sent is None else [])
        if sent is not None:
            time.sleep(1.0)
            os.killpg(process, sent) if sent == signal.SIGINT else os.kill(process, sent)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if sent is None and code:
            raise RuntimeError("\n".join((place / "log").read_text().splitlines()[-20:]))
        found.left[how] = _left(process, before)
    return found


def _follow(process: int, outputs: Path, runs: int, memory: list[int]) -> None:
    """Until so many reports are written; the process's memory after each."""
    seen = 0
    while seen < runs and os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        count = len(list(outputs.glob("runs/*/results.json")))
        if count > seen:
            seen = count
            memory.append(_memory(process))
        time.sleep(0.02)


def _memory(process: int) -> int:
    """Bytes that it has to itself, and its share of what it has with others."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _segments() -> set[str]:
    return set(os.listdir(SHARED))


def _left(session: int, before: set[str]) -> list[str]:
    """What is left of a session that has ended, and of shared memory, once everybody had time to notice."""
    return _once(lambda: [*_members(session), *sorted(_segments() - before)])


def _once(look: Callable[[], list[str]]) -> list[str]:
    ends = time.monotonic() + GRACE
    while (found := look()) and time.monotonic() < ends:
        time.sleep(0.1)
    return found


def _members(session: int) -> list[str]:
    """Processes of a session, by what they were started as."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, own = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(own) == session and state != "Z":
                found.append(
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80]
                )
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
