"""A real Ray cluster of two nodes on loopback: the same results as without it, also where workers and nodes are killed.

In a process of its own (`test_cluster.py` starts it): Ray forks, which one in which JAX has threads should not.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.collect import collect
from envs.engine import engine, running_on
from envs.errors import UserError
from envs.robosuite.vector import RobosuiteScene, robosuite_envs
from envs.rollout import Rollout, RolloutPool
from envs.store import Reading, open_store
from experiments.choices.wvm_critics import WVMChoice
from experiments.labelling import spread
from experiments.labelling.spread import values_anywhere

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")

STYLES = {"clean": 3, "retry": 1}
LOCAL = engine()
SCENE = RobosuiteScene("lift", horizon=24)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and a node that works."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.add_node(num_cpus=2, num_gpus=1)  # it has none, which nobody asks
    try:
        yield made
    finally:
        made.shutdown()


@pytest.fixture
def on_ray(cluster: Any) -> Iterator[Any]:
    from experiments.lab.cluster import ray_cluster

    with ray_cluster(cluster.address) as made, running_on(made):
        yield made


class Pushing:
    """Acts by its seeds alone, and once, at its `kills`-th decision, does what it is told."""

    def __init__(self, kills: int = -1, what: Any = None) -> None:
        self._left, self._what = kills, what

    def act(self, observation: Any, seeds: np.ndarray) -> np.ndarray:
        if self._left == 0:
            self._what()
        self._left -= 1
        draws = [np.random.default_rng(seed).uniform(-1, 1, (8, 7)) for seed in seeds]
        return np.stack(draws).astype(np.float32)


def sums(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def rolled_out(actor: Pushing) -> list[Rollout]:
    with RolloutPool(robosuite_envs(SCENE, 2, 8)) as pool:
        return pool.rollout(actor, [0, 1, 2, 0], record=True, film=8)


def same(some: list[Rollout], others: list[Rollout]) -> bool:
    return all(
        (one.length, one.success, one.reward) == (other.length, other.success, other.reward)
        and np.array_equal(one.filmed.images["wrist"], other.filmed.images["wrist"])
        and np.array_equal(one.recorded.observation.proprio, other.recorded.observation.proprio)
        for one, other in zip(some, others, strict=True)
    )


def kill_a_row() -> None:
    """SIGKILL the process of one row; Ray names it by its class."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::_Row"):
                os.kill(int(folder.name), signal.SIGKILL)
                return
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise AssertionError("no row is at work")


def test_demonstrations_are_the_same_to_the_byte(on_ray: Any, tmp_path: Path) -> None:
    done = []

    def progress(count: int) -> None:
        done.append(count)

    rows = robosuite_envs(SCENE, 3, 8)  # more than there are cores, and open while jobs want these
    report = collect(tmp_path / "there", "lift", styles=STYLES, seed=5, progress=progress)
    rows.close()
    assert report.episodes == STYLES and len(done) == 4 and on_ray.redone == 0
    with running_on(LOCAL):
        collect(tmp_path / "here", "lift", styles=STYLES, seed=5, workers=1)
    assert sums(tmp_path / "there") == sums(tmp_path / "here")


def test_a_killed_worker_costs_nothing(on_ray: Any) -> None:
    with running_on(LOCAL):
        expected = rolled_out(Pushing())
    found = rolled_out(Pushing(2, kill_a_row))
    assert same(found, expected) and on_ray.redone == 1


def test_jobs_have_the_gpus_that_were_asked_for(cluster: Any) -> None:
    from experiments.lab.cluster import ray_cluster

    with ray_cluster(cluster.address, gpus=0.5) as made, made.jobs(2) as jobs:
        assert [job.result() for job in [jobs.submit(_gpus) for _ in range(2)]] == ["0", "0"]
    with pytest.raises(UserError, match="the cluster has 1"), ray_cluster(cluster.address, gpus=2):
        raise AssertionError("not reached")


def test_a_killed_node_costs_nothing(cluster: Any, on_ray: Any, tmp_path: Path) -> None:
    """Its raylet is killed in the midst of a collection; another node takes over."""
    with running_on(LOCAL):
        collect(tmp_path / "here", "lift", styles=STYLES, seed=5, workers=1)
    worker = next(node for node in cluster.list_all_nodes() if not node.is_head())

    def progress(count: int) -> None:
        nonlocal worker
        if worker is not None:
            cluster.add_node(num_cpus=2, num_gpus=1)
            cluster.remove_node(worker, allow_graceful=False)
            worker = None

    collect(tmp_path / "there", "lift", styles=STYLES, seed=5, progress=progress)
    assert sums(tmp_path / "there") == sums(tmp_path / "here") and on_ray.redone >= 1


def test_a_mistake_of_the_user_s_is_told_as_ever(on_ray: Any) -> None:
    with pytest.raises(UserError, match="unknown camera 'roof'"):
        robosuite_envs(RobosuiteScene("lift", cameras=("roof",)), 1, 8)
    with pytest.raises(UserError, match="workers is 0"):
        robosuite_envs(SCENE, 0, 8)
    with pytest.raises(UserError, match="no clean demonstration"), on_ray.jobs(1) as jobs:
        jobs.submit(_fail).result()


def _gpus() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def _fail() -> None:
    raise UserError("no clean demonstration")


def test_labels_are_the_same(on_ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the critic that ships: in one part to the byte; in several a frame's neighbours in a batch are others."""
    with running_on(LOCAL):
        collect(tmp_path / "data", "lift", styles={"clean": 5}, seed=5, workers=2)
        store, source = open_store(tmp_path / "data", Reading(exclude=(1,))), WVMChoice().saved()
        here = list(values_anywhere(source, store))
    there = list(values_anywhere(source, store))
    assert len(here) == 4 and all(np.array_equal(*pair) for pair in zip(here, there, strict=True))
    monkeypatch.setattr(spread, "PART", 2)
    for one, other in zip(here, values_anywhere(source, store), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
