"""A row of runs: its memory, and what it leaves behind."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from experiments.lab import soak as soaking
from experiments.lab.chaos import Killed
from experiments.lab.soak import SETTLED, Soak, soak
from experiments.reports.chaos import Findings, findings_text, write_findings

ROW = """
import mmap, os, subprocess, sys, time
from pathlib import Path

outputs, leaves, held = Path(sys.argv[1]), sys.argv[2] == "leaves", []
if leaves:
    subprocess.Popen(["sleep", "8"])
    with open(f"/dev/shm/row-{os.getpid()}", "wb+") as segment:
        segment.truncate(4096)
        shared = mmap.mmap(segment.fileno(), 4096)
for number in range(6):
    time.sleep(0.1)
    held.append(bytearray(30_000_000) if leaves else b"")
    folder = outputs / "runs" / str(number)
    folder.mkdir(parents=True)
    (folder / "results.json").write_text("{}")
    time.sleep(0.1)
"""


@pytest.mark.parametrize("kind", ["leaves", "cleans"])
def test_what_grows_and_what_is_left_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(soaking, "GRACE", 0.5)

    def begin(outputs: Path) -> int:
        words = [sys.executable, "-c", ROW, str(outputs), kind]
        return os.posix_spawn(sys.executable, words, dict(os.environ), setsid=True)

    found = soak(begin, tmp_path, 6)
    assert len(found.memory) == 6 and list(found.left) == ["to the end", "Ctrl-C", "SIGTERM"]
    if kind == "leaves":
        assert found.growth > 0.3
        process, segment = found.left["SIGTERM"]
        assert process == "sleep 8 " and segment.startswith("row-")
        assert [name[:4] for name in found.left["Ctrl-C"]] == ["row-"], "Ctrl-C reaches its children"
        for names in found.left.values():
            Path("/dev/shm", names[-1]).unlink()
    else:
        assert abs(found.growth) < 0.05 and not any(found.left.values())
    assert Findings(row=found).fine == (kind == "cleans")


def test_what_was_found_is_written(tmp_path: Path) -> None:
    killed = Killed({"extract": 2.0, "report": 0.5})
    killed.kills |= {"extract": 20, "report": 21}
    killed.rounds = 7
    found = Findings({"data": killed}, Soak([100] * SETTLED + [104], {"Ctrl-C": []}))
    assert found.fine and found.summary() == {
        "kills": 41,
        "rounds": 7,
        "different": [],
        "growth": pytest.approx(0.04),
        "left": [],
    }
    write_findings(tmp_path, found, ["kills=20"])
    assert json.loads((tmp_path / "results.json").read_text())["runs"]["data"]["kills"]["extract"] == 20
    text = (tmp_path / "report.md").read_text()
    assert (
        "| data | extract | 2.0 | 20 | 7 | none |" in text
        and "+4.0%" in text
        and "| Ctrl-C | nothing |" in text
    )
    killed.different.append("extract-0/policy.safetensors")
    assert not found.fine and "policy.safetensors" in findings_text(found, [])
