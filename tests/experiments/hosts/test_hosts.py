"""One command on several hosts: who makes what, and what is said where a host is missing or was told something else."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from envs.errors import UserError
from experiments.settings.cluster import without_cluster
from experiments.settings.hosts import STOPPED
from tests.experiments.hosts.starting import start

MADE = "tests.experiments.hosts.made"


@pytest.mark.parametrize("slurm", [False, True])
def test_hosts_make_what_is_made_over_them_and_the_first_makes_the_rest(tmp_path: Path, slurm: bool) -> None:
    first, second = [host.end() for host in start([MADE, f"outputs={tmp_path}"], 2, slurm=slurm)]
    assert (first.code, second.code) == (0, 0), first.err + second.err
    alone, both = json.loads(first.said[-1])
    assert alone == {"0": 2}, "by the first of two"
    assert both == {
        "0": {"read": [[0, 2], [0, 2]], "losses": [1.5, 3.0]},
        "1": {"read": [[2, 4], [2, 4]], "losses": [1.5, 3.0]},
    }, "each host reads its own rows of a batch"
    assert not second.said, "only the first host says what came of it"


def test_a_host_that_dies_ends_the_others_with_a_line(tmp_path: Path) -> None:
    first, second = start([MADE, f"outputs={tmp_path}"], 2, others=["dies=true"])
    assert second.end().code == 128 + 9
    ended = first.end()
    assert (ended.code, ended.mistake) == (2, STOPPED)
    assert not list(tmp_path.glob("by_all-*")), "it is not finished"


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        first, second = start([MADE, f"outputs={tmp_path}"], 2, port=taken.getsockname()[1])
        ended = first.end()
        second.kill()
        second.end()
    assert ended.code == 2 and "use another port if this one is taken" in ended.mistake


def test_hosts_that_were_told_different_things_say_so(tmp_path: Path) -> None:
    first, second = [host.end() for host in start([MADE, f"outputs={tmp_path}"], 2, others=["word=other"])]
    assert (second.code, first.code) == (2, 2)
    assert "start all of them with the same arguments" in second.mistake
    assert first.mistake == STOPPED


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cluster=hosts", "cluster.processes=2"], "needs cluster.coordinator, cluster.process, too"),
        (["cluster=hosts", "cluster.heartbeat=0"], "a number of seconds"),
        (["cluster=hosts", "cluster.adress=here"], "setting of cluster=hosts"),
        (["cluster=host"], "cluster"),
        (["cluster.address=here:1"], "say cluster=ray"),
    ],
)
def test_a_mistake_is_said_before_anything_is_begun(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        without_cluster(words, over=("hosts",))


@pytest.mark.parametrize(
    ("coordinator", "processes", "process"),
    [("here", "2", "0"), ("here:1", "2", "2"), ("here:1", "two", "0")],
)
def test_who_is_who_has_to_make_sense(coordinator: str, processes: str, process: str) -> None:
    told = [
        f"cluster.coordinator={coordinator}",
        f"cluster.processes={processes}",
        f"cluster.process={process}",
    ]
    with pytest.raises(UserError, match="cluster"):
        without_cluster(["cluster=hosts", *told], over=("hosts",))


def test_a_command_that_trains_nothing_over_hosts_refuses() -> None:
    with pytest.raises(UserError, match="is for train_critic and train_world_model"):
        without_cluster(["cluster=hosts"])
