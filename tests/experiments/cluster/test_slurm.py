"""`cluster=slurm`: whole runs as jobs; here of submitit's local executor, which goes the same way without SLURM."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from envs.engine import LocalEngine, engine
from envs.errors import UserError
from envs.store import write_store
from experiments.settings.cluster import without_cluster
from experiments.settings.slurm import SlurmNeeds, slurm_needs
from tests.experiments.outside import Lab
from tests.experiments.test_no_env import TRAIN, recorded_episode

pytest.importorskip("submitit", reason="submitit is not installed: pip install '.[slurm]'")

HERE = ["cluster=slurm", "cluster.local=true", "cluster.folder=jobs"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("slurm")
    write_store(folder / "arm", [recorded_episode(seed) for seed in range(4)])
    return Lab(folder)


def test_the_runs_of_a_sweep_are_jobs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([lab.environment["PYTHONPATH"], str(lab.folder)]))
    words = [*TRAIN, "env=none", "data=store", "data.path=arm", "method=bc", "train.updates=8", "name=one"]
    said = lab.run("-m", *words, "seed=0,1", *HERE)
    assert said.count("Success was not measured.") == 2
    assert len(list((lab.folder / "outputs" / "artifacts").glob("extract-*"))) == 2
    outputs = list((lab.folder / "jobs").glob("*_log.err"))
    assert len(outputs) == 2 and all("extract" in one.read_text() for one in outputs)


def square(number: int) -> int:
    if number == 3:
        raise UserError("three is too many")
    if number == 4:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def test_what_becomes_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    words = [*HERE[:2], f"cluster.folder={tmp_path}"]
    left, block = without_cluster(["-m", *words], ("slurm",))
    assert left == ["-m"]
    with block:
        runs = engine().runs(4)
        assert runs is not None
        with runs as jobs:
            two, three, four, five = [jobs.submit(square, number) for number in (2, 3, 4, 5)]
            assert two.result() == 4 and five.result() == 25
            with pytest.raises(UserError, match=r"^three is too many$"):
                three.result()
            with pytest.raises(UserError, match=r"job \d+ was lost .* says why; the same command goes on"):
                four.result()
    assert isinstance(engine(), LocalEngine) and engine().runs(2) is None


def test_what_a_job_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert slurm_needs({"cluster.gpus": "2", "cluster.partition": "long"}) == SlurmNeeds(
        gpus=2, partition="long"
    )
    for words, message in (
        ({"cluster.minutes": "1h"}, r"cluster\.minutes=1h is a whole number"),
        ({"cluster.local": "yes"}, r"cluster\.local=yes is true or false"),
        ({"cluster.cpus": "0"}, r"cluster\.cpus=0 must be at least 1"),
        ({"cluster.folder": ""}, r"cluster\.folder= is empty"),
    ):
        with pytest.raises(UserError, match=message):
            slurm_needs(words)
    with pytest.raises(UserError, match=r"unknown setting of cluster=slurm 'cluster\.nodes'"):
        without_cluster(["cluster=slurm", "cluster.nodes=2"], ("slurm",))
    monkeypatch.setenv("PATH", "/nowhere")
    with without_cluster(["cluster=slurm"], ("slurm",))[1]:
        runs = engine().runs(2)
        assert runs is not None
        with pytest.raises(UserError, match=r"start it where sbatch is.*cluster\.local=true"), runs:
            raise AssertionError("not reached")
