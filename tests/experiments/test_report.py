"""The overview of all runs."""

from __future__ import annotations

import json
import os

import pytest

from envs.errors import UserError
from experiments.report import print_overview
from experiments.reports.hypertext import hypertext
from experiments.reports.run_page import write_run_page


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


TEXT = """# lift <1>

bc on lift: **85 % [73, 92]** & `more`

## Success

![Before and after](success.png)

| style | success |
|---|---|
| clean | 1 < 2 |

## Training

## Settings

```json
{"a": "<b>",

 "c": 1}
```
"""


def test_markdown_as_a_page(tmp_path):
    (tmp_path / "success.png").write_bytes(b"png")
    assert hypertext(TEXT, tmp_path).splitlines() == [
        "<p>bc on lift: <b>85 % [73, 92]</b> &amp; <code>more</code></p>",
        "<h2>Success</h2>",
        '<p><img alt="Before and after" src="data:image/png;base64,cG5n"></p>',
        "<table><tr><th>style</th><th>success</th></tr><tr><td>clean</td><td>1 &lt; 2</td></tr></table>",
        "<h2>Training</h2>",
        "<h2>Settings</h2>",
        "<details><summary>show</summary><pre>{&quot;a&quot;: &quot;&lt;b&gt;&quot;,",
        "",
        " &quot;c&quot;: 1}",
        "</pre></details>",
    ]


def test_the_page_of_a_run_without_data_has_its_films(tmp_path):
    (tmp_path / "success.png").write_bytes(b"png")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "0000_seed7_success.mp4").write_bytes(b"film")
    write_run_page(tmp_path, TEXT, None, "wvm")
    page = (tmp_path / "report.html").read_text()
    assert "<title>lift &lt;1&gt;</title>" in page and "episode 0, seed 7: success" in page
    assert page.index("data:video/mp4;base64,ZmlsbQ==") < page.index("<h2>Training</h2>")
