"""Artifacts are whole or absent, made once, repaired when damaged, resumed when their maker was killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from envs.fields import later
from envs.files import atomic_file
from experiments.lab.artifacts import Artifacts, canonical, digest, file_digest, kind_of


@dataclass(frozen=True)
class Setting:
    size: int = 3


def test_a_field_that_came_later_changes_no_digest_until_it_is_set():
    @dataclass(frozen=True)
    class Grown(Setting):
        colour: str = later("")

    before = {"kind": kind_of(Grown), "size": 3}
    assert digest({"part": Grown()}) == digest({"part": before})
    assert digest(Grown(colour="red")) == digest({**before, "colour": "red"})
    assert canonical(Grown()) == {**before, "colour": ""}  # what is shown is whole


def write(text):
    def build(folder):
        (folder / "value.txt").write_text(text)

    return build


def refuse(folder):
    raise AssertionError("must not be built again")


def test_same_recipe_is_found_and_any_change_makes_another(tmp_path):
    artifacts = Artifacts(tmp_path)
    first = artifacts.make("stage", 1, Setting(), {"data": "abc"}, write("one"))
    again = artifacts.make("stage", 1, Setting(), {"data": "abc"}, refuse)
    assert (first.reused, again.reused) == (False, True)
    assert again.folder == first.folder and (again.folder / "value.txt").read_text() == "one"
    others = [
        artifacts.make("stage", 2, Setting(), {"data": "abc"}, write("two")),
        artifacts.make("stage", 1, Setting(4), {"data": "abc"}, write("two")),
        artifacts.make("stage", 1, Setting(), {"data": "abd"}, write("two")),
        artifacts.make("other", 1, Setting(), {"data": "abc"}, write("two")),
    ]
    assert len({first.folder, *(other.folder for other in others)}) == 5


def test_seconds_are_counted_of_what_is_made_and_of_what_is_found(tmp_path):
    artifacts, again = Artifacts(tmp_path), Artifacts(tmp_path)
    one = artifacts.make("stage", 1, Setting(1), {}, lambda folder: time.sleep(0.01))
    with again.counted() as outer:
        again.make("stage", 1, Setting(1), {}, refuse)
        with again.counted() as inner:
            two = again.make("stage", 1, Setting(2), {}, write("two"))
    again.make("stage", 1, Setting(3), {}, write("three"))
    assert inner == {two.folder.name: two.seconds} and one.seconds > 0
    assert outer == {one.folder.name: one.seconds, two.folder.name: two.seconds}


def test_digest_tells_classes_apart_and_refuses_objects():
    @dataclass(frozen=True)
    class Other:
        size: int = 3

    assert digest(Setting()) == digest(Setting(3)) != digest(Other())
    with pytest.raises(TypeError, match="digest"):
        digest(object())


def test_own_classes_are_known_by_name_wherever_they_lie(monkeypatch):
    from policy_extraction.methods.awr import AWR

    before = digest(AWR())
    monkeypatch.setattr(AWR, "__module__", "policy_extraction.elsewhere")
    assert digest(AWR()) == before and kind_of(AWR) == "AWR"
    monkeypatch.setattr(AWR, "kind", "Older", raising=False)
    assert kind_of(AWR) == "Older" and digest(AWR()) != before
    assert kind_of(Setting) == f"{__name__}:Setting"


def test_file_digest_sees_content_and_names(tmp_path):
    (tmp_path / "a").write_text("x")
    before = file_digest(tmp_path)
    assert file_digest(tmp_path) == before
    (tmp_path / "a").write_text("y")
    changed = file_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({before, changed, file_digest(tmp_path)}) == 3


def test_a_failed_build_leaves_no_artifact_and_its_work_is_found_again(tmp_path):
    def fail(folder):
        (folder / "scratch" / "step-7").touch()
        raise RuntimeError("killed")

    def resume(folder):
        assert (folder / "scratch" / "step-7").exists()
        (folder / "value.txt").write_text("whole")

    artifacts = Artifacts(tmp_path)
    with pytest.raises(RuntimeError):
        artifacts.make("stage", 1, None, {}, fail)
    assert not list(tmp_path.glob("stage-*"))
    made = artifacts.make("stage", 1, None, {}, resume)
    assert sorted(path.name for path in made.folder.iterdir()) == ["artifact.json", "value.txt"]
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize("damage", ["truncate", "remove", "manifest"])
def test_a_damaged_artifact_is_made_again(tmp_path, capsys, damage):
    artifacts = Artifacts(tmp_path)
    made = artifacts.make("stage", 1, None, {}, write("whole"))
    value = made.folder / "value.txt"
    {
        "truncate": lambda: value.write_text("wh"),
        "remove": value.unlink,
        "manifest": lambda: (made.folder / "artifact.json").write_text('{"files": '),
    }[damage]()
    assert not artifacts.make("stage", 1, None, {}, write("whole")).reused
    assert value.read_text() == "whole"
    assert "damaged" in capsys.readouterr().err


MAKER = """
    import sys, time
    from pathlib import Path
    from experiments.lab.artifacts import Artifacts

    def build(folder):
        with open(sys.argv[1] + "/builds", "a") as log:
            log.write("b")
        for step in range(len(list((folder / "scratch").iterdir())), 4):
            (folder / "scratch" / str(step)).touch()
            time.sleep(float(sys.argv[2]))
        (folder / "value.txt").write_text("whole")

    print(Artifacts(Path(sys.argv[1])).make("stage", 1, None, {}, build).reused)
"""


def start(folder, seconds):
    code = textwrap.dedent(MAKER)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_do_the_work_once(tmp_path):
    makers = [start(tmp_path, 0.2) for _ in range(2)]
    outputs = [maker.communicate(timeout=60) for maker in makers]
    assert sorted(out.strip() for out, _ in outputs) == ["False", "True"]
    assert (tmp_path / "builds").read_text() == "b"


def test_a_killed_maker_is_continued(tmp_path):
    maker = start(tmp_path, 30)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".*.partial/scratch/0")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(maker.pid, signal.SIGKILL)
    maker.communicate()
    out, _ = start(tmp_path, 0).communicate(timeout=60)
    assert out.strip() == "False"
    assert (tmp_path / "builds").read_text() == "bb"
    [made] = tmp_path.glob("stage-*")
    assert (made / "value.txt").read_text() == "whole"


def test_atomic_file_keeps_the_old_content_when_writing_fails(tmp_path):
    path: Path = tmp_path / "value"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
