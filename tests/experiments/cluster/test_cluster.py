"""`cluster=`: what is said on a command line, and a real cluster, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from envs.chunks import ProcessEnvs
from envs.engine import LocalEngine, engine
from envs.errors import UserError
from envs.robosuite.vector import RobosuiteScene, robosuite_envs
from experiments.reports.corpus import Corpus, Measured, corpus_hours
from experiments.settings.cluster import without_cluster

pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
PATIENCE = 400  # seconds


def test_a_real_cluster() -> None:
    tests = Path(__file__).with_name("on_ray.py")
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(tests)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_what_it_costs_is_measured() -> None:
    words = [
        sys.executable,
        "-m",
        "experiments.bench",
        "scale",
        "workers=[1]",
        "demonstrations=4",
        "repeats=1",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    speed = json.loads(done.stdout.splitlines()[-1])
    assert list(speed["demonstrations_per_s"]) == ["1"]
    for rates in (speed["demonstrations_per_s"]["1"], speed["labels_per_s"]):
        assert set(rates) == {"processes", "ray"} and min(rates.values()) > 0
    hours = speed["corpus"]["hours"]
    assert speed["corpus"]["bound_by"] in hours and min(hours.values()) > 0


def test_what_a_corpus_needs_by_hand() -> None:
    corpus = Corpus(trajectories=1000, hours=2.0, fps=10.0, gpus=2, cpus=4, mfu=0.5, network=1e6)
    hours = corpus_hours(corpus, Measured({"1": 5.0}, decoded=65536 * 50.0, episode_bytes=2e6))
    decoding, network, _, values, made, sent, _ = hours.values()
    assert decoding == pytest.approx(2 * 10 / (50 * 4))
    assert network == pytest.approx(2 * 2 * 65536 * 3 / 1e6)
    assert values == pytest.approx(
        2 * 2 * 1.165e12 / (312e12 * 0.5 * 2), rel=1e-3
    )  # TFLOP of docs/resources.md
    assert (made, sent) == pytest.approx((1000 / (5 * 4) / 3600, 1000 * 2e6 / 1e6 / 3600))


def test_words_of_a_command_line() -> None:
    left, block = without_cluster(["task=lift", "seed=1"])
    assert left == ["task=lift", "seed=1"]
    with block:
        assert isinstance(engine(), LocalEngine)
    for wrong, message in (
        (["cluster=pbs"], "unknown cluster 'pbs'"),
        (["cluster=slurm"], "cluster=slurm is for run and compare"),
        (["cluster.address=auto"], "say cluster=ray"),
        (["cluster=ray", "cluster.gpus=1.5"], "cluster.gpus=1.5 is a share"),
        (["cluster=ray", "cluster.nodes=2"], "unknown setting of cluster=ray 'cluster.nodes'"),
    ):
        with pytest.raises(UserError, match=message):
            without_cluster(wrong)
    _, block = without_cluster(["cluster=ray", "cluster.address=127.0.0.1:1"])
    with pytest.raises(UserError, match="no Ray cluster at"), block:
        pass


def test_without_ray_everything_is_as_it_was() -> None:
    envs = robosuite_envs(RobosuiteScene("lift", horizon=24), 1, 8)
    try:
        assert isinstance(envs, ProcessEnvs)
    finally:
        envs.close()
