"""A run that is killed at random moments, stage by stage: whether what comes of it is what comes of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lab.artifacts import MANIFEST, read_manifest

REPORT = "report"  # what comes after the last artifact
PER_ROUND = 5  # kills of a stage in one run, at most: it has to end some time
GLANCE = 0.002  # seconds between two looks
TIMED = {MANIFEST, "report.json"}  # files that say how long something took
MEASURED = {"seconds", "frames_per_s", "peak_gb"}  # what others say of it
SAID = ("before", "after", "weights", "training", "critic", "judge")  # of a report's results


Begin = Callable[[Path], int]
"""Begins a run that writes into a folder; the number of its process."""


@dataclass(frozen=True)
class Straight:
    """An undisturbed run. seconds: of every stage; artifacts: names of their folders."""

    outputs: Path
    seconds: dict[str, float]
    artifacts: frozenset[str]


@dataclass
class Killed:
    """How often each stage was killed, how many whole runs came of it, and what was different in them.

    shortest: seconds that a stage has taken at least; what goes on from a checkpoint is soon done.
    """

    seconds: dict[str, float]
    shortest: dict[str, float] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    rounds: int = 0
    different: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kills, self.shortest = dict.fromkeys(self.seconds, 0), dict(self.seconds)

    def __str__(self) -> str:
        """How often, stage by stage."""
        return ", ".join(f"{stage} {count}" for stage, count in self.kills.items())

    def enough(self, wanted: int) -> bool:
        """Whether every stage was killed so often."""
        return min(self.kills.values()) >= wanted


def undisturbed(begin: Begin, outputs: Path) -> Straight:
    """Do it once.

    Raises:
        RuntimeError: it failed.
    """
    end(begin(outputs), outputs)
    ended = time.time()
    folders = sorted((outputs / "artifacts").glob("[!.]*"))
    seconds: dict[str, float] = {}
    for folder in folders:
        manifest = read_manifest(folder)
        assert manifest is not None, f"{folder} is whole"
        stage = folder.name.rpartition("-")[0]
        seconds[stage] = max(seconds.get(stage, 0.0), manifest["seconds"])
    last = max((folder / MANIFEST).stat().st_mtime for folder in folders)
    return Straight(outputs, {**seconds, REPORT: ended - last}, frozenset(folder.name for folder in folders))


def disturbed(
    begin: Begin,
    straight: Straight,
    outputs: Path,
    killed: Killed,
    wanted: int,
    random: np.random.Generator,
) -> None:
    """Do it in `outputs`, killed at random moments of stages that have not been killed as often as `wanted`, to the end.

    Raises:
        RuntimeError: it failed by itself.
    """
    left = {stage: min(PER_ROUND, wanted - count) for stage, count in killed.kills.items()}
    while True:
        process, struck = begin(outputs), False
        while (stage := _wait_for(process, outputs, straight, left)) is not None:
            began = time.monotonic()
            ends = began + random.uniform(0, random.choice([killed.seconds[stage], killed.shortest[stage]]))
            while time.monotonic() < ends and _stage(outputs, straight) == stage and runs(process):
                time.sleep(GLANCE)
            if _stage(outputs, straight) == stage and runs(process):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                left[stage] -= 1
                killed.kills[stage] += 1
                struck = True
                break
            killed.shortest[stage] = min(killed.shortest[stage], time.monotonic() - began)
        if not struck:
            end(process, outputs)
            return


def differences(some: Path, others: Path) -> list[str]:
    """Names of files and parts of a report that are not the same in two runs' outputs."""
    one, other = _content(some), _content(others)
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _wait_for(process: int, outputs: Path, straight: Straight, left: dict[str, int]) -> str | None:
    """The next stage that is to be killed, once it has begun; None: the process ended before."""
    while runs(process):
        stage = _stage(outputs, straight)
        if stage is not None and left[stage] > 0:
            return stage
        time.sleep(GLANCE)
    return None


def _stage(outputs: Path, straight: Straight) -> str | None:
    """What is being made; None: nothing that is known of."""
    artifacts = outputs / "artifacts"
    if not artifacts.is_dir():
        return None
    names = os.listdir(artifacts)
    partial = [name for name in names if name.endswith(".partial")]
    if not partial:
        return REPORT if straight.artifacts <= set(names) else None
    return partial[0].removeprefix(".").rpartition("-")[0]


def runs(process: int) -> bool:
    """Whether it has not ended; what it left is kept for `end`."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def end(process: int, outputs: Path) -> None:
    """Wait for it.

    Raises:
        RuntimeError: it failed.
    """
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code:
        lines = (outputs / "log").read_text().splitlines()
        raise RuntimeError("\n".join(["the run failed by itself:", *lines[-20:]]))


def _content(outputs: Path) -> dict[str, bytes]:
    """Every artifact's files, and the parts of what the report says, but for how long things took."""
    artifacts = outputs / "artifacts"
    found = {
        str(file.relative_to(artifacts)): _told(file) if file.suffix == ".json" else file.read_bytes()
        for file in artifacts.glob("[!.]*/**/*")
        if file.is_file() and file.name not in TIMED
    }
    for results in outputs.glob("runs/*/results.json"):
        told = json.loads(results.read_text())
        found |= {f"results.json: {part}": json.dumps(_timeless(told.get(part))).encode() for part in SAID}
    return found


def _told(file: Path) -> bytes:
    return json.dumps(_timeless(json.loads(file.read_text()))).encode()


def _timeless(value: Any) -> Any:
    """The same without what was measured of the machine."""
    if isinstance(value, dict):
        return {name: _timeless(one) for name, one in value.items() if name not in MEASURED}
    return [_timeless(one) for one in value] if isinstance(value, list) else value
