"""A torch policy trained by the processes of `torchrun`: the losses and weights of one process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from envs.errors import UserError
from envs.files import load_arrays
from envs.store import write_store
from experiments.lab.hosts import TorchHosts
from experiments.settings.cluster import without_cluster
from experiments.stages import extract
from policy_extraction.adapters.companions import Companions
from tests.experiments.hosts.starting import Ended, free_port
from tests.experiments.outside import Lab, settings
from tests.experiments.test_no_env import recorded_episode

pytest.importorskip("torch")

TRAIN = [
    "env=none",
    "data=store",
    "data.path=arm",
    "env.held_out=2",
    "critic=time_index",
    "method=awr",  # whose weights are normalised over a batch
    "policy.spec.action_horizon=4",
    "train.updates=24",
    "train.learning_rate=0.03",
    "batch.size=32",
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("torchrun")
    write_store(folder / "arm", [recorded_episode(seed) for seed in range(6)])
    return Lab(folder)


def torchrun(lab: Lab, *words: str) -> Ended:
    """`torchrun --nproc-per-node 2 …` in the lab's folder."""
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *words],
        cwd=lab.folder,
        env=lab.environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def alone(lab: Lab) -> tuple[list, dict]:
    """Learning curve and weights of one process."""
    lab.run(*TRAIN, "policy=my_torch:Gaussian", "name=alone", "outputs=alone")
    return trained(lab, "alone")


def trained(lab: Lab, outputs: str) -> tuple[list, dict]:
    (folder,) = (lab.folder / outputs / "artifacts").glob("extract-*")
    weights = load_arrays(folder / "policy" / "policy.safetensors")[0]
    return json.loads((folder / "history.json").read_text()), weights


@pytest.mark.parametrize(("kept", "how"), [("copies", []), ("shards", ["cluster.shards=true"])])
def test_two_processes_give_the_losses_of_one(
    lab: Lab, alone: tuple[list, dict], kept: str, how: list[str]
) -> None:
    words = [*settings([*TRAIN, "policy=my_torch:Gaussian"]), "name=both", f"outputs={kept}"]
    ended = torchrun(lab, "-m", "experiments.run", *words, "cluster=torchrun", *how)
    assert ended.code == 0, ended.err
    assert ended.out.count("Success was not measured.") == 1, "one of them speaks"
    (losses, weights), (others, same) = alone, trained(lab, kept)
    for one, other in zip(losses, others, strict=True):
        assert other == pytest.approx(one, rel=1e-4)
    assert weights.keys() == same.keys()
    for name, array in weights.items():
        assert same[name] == pytest.approx(array, abs=2e-5), name


def test_a_policy_in_shards_is_trained_saved_and_restored_as_a_whole_one(lab: Lab) -> None:
    ended = torchrun(lab, "-m", "tests.experiments.hosts.sharded", str(lab.folder / "sharded"))
    assert ended.code == 0, ended.err
    assert ended.out.count("the same") == 2


def test_what_cannot_be_trained_together_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    two = Companions()
    two.count = 2
    assert two.own(32) == slice(0, 16)
    with pytest.raises(UserError, match=r"batch\.size=33 must be a multiple of the 2 processes"):
        two.own(33)
    monkeypatch.setattr(extract, "training_hosts", lambda: TorchHosts(0, 2))
    with pytest.raises(AssertionError, match="cluster=torchrun trains torch policies"):
        lab.run(*TRAIN, "policy=my_lab:Gaussian", "outputs=both")


def test_torchrun_has_to_start_it() -> None:
    with (
        pytest.raises(UserError, match="torchrun --nproc-per-node"),
        without_cluster(["cluster=torchrun"], ("torchrun",))[1],
    ):
        raise AssertionError("not reached")
    with pytest.raises(UserError, match="run and compare"):
        without_cluster(["cluster=torchrun"])
    with pytest.raises(UserError, match=r"say cluster=torchrun, too"):
        without_cluster(["cluster.shards=true"])
    with pytest.raises(UserError, match=r"cluster\.shards=1 is true or false"):
        without_cluster(["cluster=torchrun", "cluster.shards=1"], ("torchrun",))
