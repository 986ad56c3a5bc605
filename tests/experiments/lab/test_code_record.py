"""The record of the code behind every stage: it is true, it is complete, and it sees what it must."""

import ast
from pathlib import Path

import pytest

from envs.errors import UserError
from experiments.lab import code_record
from experiments.lab.code_digest import ROOT, code_digest, reachable
from experiments.lab.code_record import STAGES, changed, keep_record

STAGE = '''
"""A stage."""
from envs.other import Helper, imported as known
from value_model import numbers

VERSION = 1
SCALE = 2

def stage(helper: Helper):
    """Docstring."""
    from envs.late import late
    if not helper:
        raise ValueError("no helper")
    return known(SCALE) + numbers.one() + late()

def beside():
    return 0
'''
OTHER = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Helper:
    size: int = 3
    def use(self): return self.size

def imported(x): return x + unseen()
def unseen(): return 1
def alone(): return 5
"""


class Project:
    """A project of four files. `digest` is that of envs.stage:stage; every one is of a copy, for files are read once."""

    def __init__(self, folder: Path):
        self.folder, self.copies = folder, 0
        self.files = {
            "envs/stage.py": STAGE,
            "envs/other.py": OTHER,
            "envs/late.py": "def late(): return 7\n",
            "value_model/numbers.py": "def one(): return 1\n",
        }

    def digest(self, root="envs.stage:stage", **without):
        self.copies += 1
        top = self.folder / str(self.copies)
        for name, text in self.files.items():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_text(text)
        return code_digest([root], top=top, **without)

    def edit(self, file, old, new):
        assert old in self.files[file]
        self.files[file] = self.files[file].replace(old, new)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("envs/stage.py", "SCALE = 2", "SCALE = 3"),
        ("envs/stage.py", "not helper", "helper"),
        ("envs/other.py", "return 1", "return 2"),  # through an imported function
        ("envs/other.py", "return self.size", "return 2 * self.size"),  # a method of what an annotation names
        ("envs/other.py", "frozen=True", "frozen=False"),
        ("envs/late.py", "7", "8"),  # imported within the function
        ("value_model/numbers.py", "return 1", "return 2"),  # through an attribute of a module
    ],
)
def test_a_change_that_may_change_results_is_seen(project, file, old, new):
    before = project.digest()
    project.edit(file, old, new)
    assert project.digest() != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("envs/stage.py", "Docstring.", "Another one."),
        ("envs/stage.py", "SCALE = 2", "SCALE = (\n    2  # as published\n)"),
        ("envs/stage.py", "no helper", "give a helper"),
        ("envs/stage.py", "VERSION = 1", "VERSION = 2"),
        ("envs/stage.py", "return 0", "return 1"),
        ("envs/stage.py", "def stage(helper: Helper):", "def stage(helper: Helper) -> int:"),
        ("envs/other.py", "return 5", "return 6"),
    ],
)
def test_a_change_that_changes_no_result_is_not(project, file, old, new):
    before = project.digest()
    project.edit(file, old, new)
    assert project.digest() == before


def test_a_moved_file_is_the_same_code(project):
    before = project.digest()
    project.files["policy_extraction/elsewhere.py"] = project.files.pop("envs/other.py")
    project.edit("envs/stage.py", "envs.other", "policy_extraction.elsewhere")
    assert project.digest() == before


def test_what_changes_no_result_is_left_out(project):
    before = project.digest(without=["envs.other"])
    project.edit("envs/other.py", "return 1", "return 2")
    assert project.digest(without=["envs.other"]) == before
    with pytest.raises(KeyError):
        project.digest("envs.stage:nothing")
    assert project.digest("envs.other:Helper.use") != project.digest("envs.other:Helper")


def test_the_record_is_that_of_the_code():
    assert changed() == [], (
        "the code behind these stages changed. If their results change: `python -m experiments.lab.code_record raise "
        "STAGE…`; if they are the same: `python -m experiments.lab.code_record same`"
    )


def test_every_stage_is_recorded():
    made = {
        node.args[0].value
        for file in (ROOT / "experiments").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "make"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert made == {name.split()[0] for name in STAGES}


def test_training_is_not_behind_labels_but_behind_critics():
    places = {name: reachable(STAGES[name].roots, code_record.NO_RESULT) for name in ("critic", "label")}
    training, reading = "value_model.critic.train:train_network", "value_model.critic.wvm:WVM"
    assert training in places["critic"] and training not in places["label"]
    assert reading in places["label"]


def test_the_words_of_the_command():
    for words in (["sane"], ["same", "label"], ["raise"], ["raise", "labels"]):
        with pytest.raises(UserError):
            keep_record(words)


def test_raising_a_version_raises_that_of_every_stage_that_shares_it(tmp_path, monkeypatch):
    monkeypatch.setattr(code_record, "ROOT", tmp_path)
    file = tmp_path / "experiments" / "stages" / "label.py"
    file.parent.mkdir(parents=True)
    file.write_text("from x import y\n\nVERSION = 9  # of labels\n")
    code_record.raise_versions(["label", "metrics"])
    assert file.read_text() == "from x import y\n\nVERSION = 10  # of labels\n"
