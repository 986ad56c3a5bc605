"""Collecting in parallel: the same data for any number of workers, whole or not there at all."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from envs.collect import collect, interleave
from envs.errors import UserError
from envs.experts import fits_intent
from envs.processes import worker_pool
from envs.store import open_store

ROOT = Path(__file__).resolve().parents[2]
STYLES = {"clean": 2, "failure": 1}
SMALL = {"task": "lift", "styles": STYLES, "seed": 50, "cameras": ("workspace",), "image_size": 16}
MAIN = """
import time
from envs.processes import worker_pool
with open("started", "a") as file:
    print("once", file=file)
with worker_pool(3) as pool:
    pool.submit(time.sleep, 0).result()
    for job in [pool.submit(time.sleep, 0.2) for _ in range(9)]:
        job.result()
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collect") / "store"
    written = []
    report = collect(folder, **SMALL, workers=1, progress=written.append)
    return folder, report, written


def test_styles_are_spread_evenly():
    assert interleave({"clean": 4, "retry": 2}) == ["clean", "retry", "clean", "clean", "retry", "clean"]
    assert interleave({"retry": 2, "clean": 4}) == interleave({"clean": 4, "retry": 2, "slow": 0})


def test_store_holds_what_was_asked_for(collected):
    folder, report, written = collected
    store = open_store(folder)
    episodes = list(store)
    assert [episode.style for episode in episodes] == ["clean", "failure", "clean"]
    assert [episode.seed % 3 for episode in episodes] == [(50 + slot) % 3 for slot in range(3)]
    assert all(fits_intent(episode) for episode in episodes)
    assert episodes[0].images["workspace"].shape == (len(episodes[0]), 16, 16, 3)
    assert report.episodes == STYLES and written == [1, 1, 1]
    assert report.frames == store.total_frames and report.frames_per_s == report.frames / report.seconds
    redrawn = sum((episode.seed - 50 - slot) // 3 for slot, episode in enumerate(episodes))
    assert sum(report.redraws.values()) == redrawn


def test_two_workers_write_the_same(collected, tmp_path):
    collect(tmp_path / "store", **SMALL, workers=2)
    for one, two in zip(open_store(collected[0]), open_store(tmp_path / "store"), strict=True):
        assert (one.seed, one.style, one.segments) == (two.seed, two.style, two.segments)
        for name in ("actions", "proprio", "rewards", "environment_state"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        np.testing.assert_array_equal(one.images["workspace"], two.images["workspace"])


def test_interrupted_collection_leaves_nothing_that_opens(tmp_path):
    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path / "store", **SMALL | {"styles": {"clean": 2}}, workers=1, progress=interrupt)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"task": "lfit"}, "did you mean lift"),
        ({"robot": "panda"}, "did you mean Panda"),
        ({"styles": {}}, "at least one style"),
        ({"styles": {"clean": -1}}, "give 0 or more"),
        ({"styles": {"cleen": 1}}, "did you mean clean"),
        ({"workers": 0}, "give at least 1"),
    ],
)
def test_mistakes_are_refused_at_once(tmp_path, wrong, message):
    with pytest.raises(UserError, match=message):
        collect(tmp_path / "store", **SMALL | wrong)
    assert not list(tmp_path.iterdir())


def test_mistakes_found_in_a_worker_arrive_here(tmp_path):
    with pytest.raises(UserError, match="unknown camera"):
        collect(tmp_path / "store", **SMALL | {"cameras": ("workspase",)}, workers=1)


def test_death_of_a_worker_is_reported():
    with pytest.raises(UserError, match="fewer workers"), worker_pool(1) as pool:
        pool.submit(os._exit, 1).result()


def test_no_worker_runs_the_program_again(tmp_path):
    """A heavy main file would cost each of them its time and memory."""
    (tmp_path / "main.py").write_text(MAIN)
    run = [sys.executable, str(tmp_path / "main.py")]
    subprocess.run(run, check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120)
    assert (tmp_path / "started").read_text() == "once\n"
