"""The overview of all runs."""

from __future__ import annotations

import json
import os

import pytest

from envs.errors import UserError
from experiments.report import print_overview


def write_run(outputs, name, success, age):
    folder = outputs / "runs" / name
    folder.mkdir(parents=True)
    choices = {"task": "lift", "method": "bc", "policy": "vla", "critic": "wvm"}
    run = {"name": name, "choices": choices, "settings": {"seed": 3}, "before": None, "seconds": 1.0}
    file = folder / "results.json"
    file.write_text(json.dumps(run | {"after": {"success": success}}))
    os.utime(file, (age, age))


def test_all_runs_newest_last(tmp_path, capsys):
    write_run(tmp_path, "newer", None, 2000)
    write_run(tmp_path, "older", {"mean": 0.5, "low": 0.3, "high": 0.7}, 1000)
    print_overview([f"outputs={tmp_path}"])
    *printed, last = capsys.readouterr().out.splitlines()
    assert [run["name"] for run in json.loads(last)["runs"]] == ["older", "newer"]
    assert "50 %" in printed[2] and "unknown" in printed[3]
    print_overview([f"outputs={tmp_path}", "name=new"])
    assert [run["name"] for run in json.loads(capsys.readouterr().out.splitlines()[-1])["runs"]] == ["newer"]


def test_no_run_or_a_damaged_one_is_one_line(tmp_path):
    with pytest.raises(UserError, match="make one"):
        print_overview([f"outputs={tmp_path}"])
    write_run(tmp_path, "cut", None, 1000)
    (tmp_path / "runs/cut/results.json").write_text('{"name"')
    with pytest.raises(UserError, match="delete its folder and repeat the run"):
        print_overview([f"outputs={tmp_path}"])
