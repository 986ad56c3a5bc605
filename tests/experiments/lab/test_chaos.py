"""Killing a run at random moments: what is counted, and that a difference is found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.lab.chaos import REPORT, Killed, differences, disturbed, undisturbed

STAGES = """
import json, os, sys, time
from pathlib import Path
from experiments.lab.artifacts import SCRATCH, Artifacts

outputs, forgets = Path(sys.argv[1]), sys.argv[2] == "forgets"

def first(folder):
    count = folder / SCRATCH / "count"
    done = int(count.read_text()) if count.is_file() else 0
    for number in range(done, 10):
        time.sleep(0.02)
        count.with_suffix(".new").write_text(str(number + 1))
        os.replace(count.with_suffix(".new"), count)
    (folder / "made.json").write_text(json.dumps({"made": 10 - done if forgets else 10, "seconds": time.time()}))

def second(folder):
    time.sleep(0.1)
    (folder / "made").write_text("whole")

artifacts = Artifacts(outputs / "artifacts")
made = artifacts.make("first", 1, None, {}, first)
artifacts.make("second", 1, None, {"first": made.digest}, second)
time.sleep(0.1)
folder = outputs / "runs" / "one"
folder.mkdir(parents=True, exist_ok=True)
(folder / "results.json").write_text(json.dumps({"after": 1, "made_by": time.time()}))
"""


def begin(outputs: Path, kind: str) -> int:
    """A process of its own; what it says goes to `outputs`/log."""
    outputs.mkdir(parents=True, exist_ok=True)
    to_log = [
        (os.POSIX_SPAWN_OPEN, out, str(outputs / "log"), os.O_WRONLY | os.O_CREAT, 0o600) for out in (1, 2)
    ]
    words = [sys.executable, "-c", STAGES, str(outputs), kind]
    return os.posix_spawn(sys.executable, words, dict(os.environ), file_actions=to_log)


@pytest.mark.parametrize(("kind", "different"), [("remembers", []), ("forgets", ["made.json"])])
def test_every_stage_is_killed_as_often_as_asked_and_a_difference_is_found(
    tmp_path: Path, kind: str, different: list[str]
) -> None:
    straight = undisturbed(lambda outputs: begin(outputs, kind), tmp_path / "straight")
    assert set(straight.seconds) == {"first", "second", REPORT}
    killed, random, found = Killed(straight.seconds), np.random.default_rng(0), set()
    while not killed.enough(3):
        outputs = tmp_path / str(killed.rounds)
        disturbed(lambda outputs: begin(outputs, kind), straight, outputs, killed, 3, random)
        found |= set(differences(straight.outputs, outputs))
        killed.rounds += 1
    assert killed.kills == {"first": 3, "second": 3, REPORT: 3}
    assert [name.rpartition("/")[2] for name in found] == different


def test_a_run_that_fails_by_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("in the way")
    with pytest.raises(RuntimeError, match="failed by itself"):
        undisturbed(lambda outputs: begin(outputs, "remembers"), tmp_path)
