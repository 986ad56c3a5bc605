"""Every result names the commit and the libraries that made it."""

import json
import subprocess

import numpy as np

from experiments.lab.artifacts import Artifacts
from experiments.lab.provenance import made_by


def git(folder, *arguments):
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def test_the_commit_and_whether_files_differ_from_it(tmp_path):
    assert made_by(tmp_path)["commit"] is None and made_by(tmp_path)["dirty"] is None
    git(tmp_path, "init")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "first")
    clean = made_by(tmp_path)
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    (tmp_path / "file").write_text("two")
    assert made_by(tmp_path) == {**clean, "dirty": True}
    (tmp_path / "inner").mkdir()
    assert made_by(tmp_path / "inner")["commit"] is None  # installed somewhere within another's checkout


def test_an_artifact_names_the_versions_and_its_digest_does_not_depend_on_them(tmp_path):
    made = Artifacts(tmp_path).make("stage", 1, None, {}, lambda folder: None)
    manifest = json.loads((made.folder / "artifact.json").read_text())
    assert manifest["made_by"]["versions"]["numpy"] == np.__version__
    assert {"python", "jax", "flax", "optax", "mujoco", "robosuite"} <= manifest["made_by"]["versions"].keys()
