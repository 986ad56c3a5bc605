"""A critic trained over hosts, which die and come back: `make test-hosts`.

Two processes of four simulated devices each stand for hosts; what they train is what one process of eight trains. That takes
some ten minutes on two cores.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from envs.files import load_arrays
from envs.store import write_store
from experiments.settings.hosts import STOPPED
from tests.experiments.hosts.starting import PATIENCE, Ended, Host, start
from tests.experiments.test_own_critic import recorded

MODEL = [
    "critic.model.tokenizer.updates=4",
    "critic.model.tokenizer.width=8",
    "critic.model.tokenizer.frames=64",
    "critic.model.video.layers=1",
    "critic.model.video.width=32",
    "critic.model.value.width=16",
    "critic.model.optim.updates=24",
    "critic.model.optim.updates_per_dispatch=2",
    "critic.model.optim.checkpoint_every=2",
    "critic.model.optim.batch=8",
]


def command(folder: Path) -> list[str]:
    told = [
        "data=store",
        f"data.path={folder.parent / 'recordings'}",
        "data.assume_success=true",
        "wandb.mode=disabled",
    ]
    return ["experiments.train_critic", *told, *MODEL, f"folder={folder / 'critic'}", f"outputs={folder}"]


def wait_for_checkpoint(folder: Path, least: int) -> None:
    """Until so many updates of the value model are on disk."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        found = folder.glob("artifacts/.critic-*.partial/scratch/wvm/network/*/_CHECKPOINT_METADATA")
        if any(int(path.parent.name) >= least for path in found if path.parent.name.isdecimal()):
            return
        time.sleep(0.05)
    raise AssertionError("no checkpoint")


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_arrays(folder / "critic" / "model.safetensors")[0]


def difference(some: Path, others: Path) -> float:
    """The largest of two critics' weights."""
    one, other = weights(some), weights(others)
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("hosts")
    write_store(made / "recordings", [recorded(seed, 20 + seed) for seed in range(6)])
    return made


@pytest.fixture(scope="module")
def alone(place: Path) -> Path:
    """What one process of eight devices makes."""
    (host,) = start(command(place / "alone"), 1, devices=8)
    ended = host.end()
    assert ended.code == 0, ended.err
    return place / "alone"


def both(folder: Path) -> tuple[Host, Host]:
    first, second = start(command(folder), 2, devices=4)
    return first, second


def ended_well(*hosts: Host) -> list[Ended]:
    ended = [host.end() for host in hosts]
    assert [one.code for one in ended] == [0] * len(ended), [one.err for one in ended]
    return ended


@pytest.mark.parametrize("killed", [0, 1])
def test_what_hosts_train_is_what_one_trains_also_where_one_dies(
    place: Path, alone: Path, killed: int
) -> None:
    folder = place / f"killed {killed}"
    hosts = both(folder)
    wait_for_checkpoint(folder, 4)
    hosts[killed].kill()
    assert hosts[killed].end().code == 128 + 9
    other = hosts[1 - killed].end()
    assert (other.code, other.mistake) == (2, STOPPED)
    first, second = ended_well(*both(folder))
    assert not second.said
    assert difference(folder, alone) < 1e-5
    assert json.loads(first.said[-1])["expert_voc"] is not None


def test_what_two_hosts_began_one_ends(place: Path, alone: Path) -> None:
    folder = place / "ended by one"
    hosts = both(folder)
    wait_for_checkpoint(folder, 4)
    for host in hosts:
        host.kill()
    for host in hosts:
        host.end()
    (last,) = start(command(folder), 1, devices=2)
    ended_well(last)
    assert difference(folder, alone) < 1e-5
