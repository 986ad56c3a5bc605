"""`env=none`: a policy of a data set of odd shapes, without a simulator, measured on held-out episodes and served."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from envs.errors import UserError
from envs.store import open_store, write_store
from experiments.choices.no_env import NoEnv
from experiments.compare import _check_alike
from experiments.label import label
from experiments.labelling.cache import ValueCache
from experiments.report import print_overview
from experiments.serve import served_policy
from experiments.settings.cli import configurations
from experiments.stages.recorded import read_recorded
from policy_extraction.types import PolicySpec
from tests.envs.episodes import make_episode
from tests.experiments.outside import Lab
from value_model.critic.progress import SIDECAR

POLICY = "policy=tests.policy_extraction.examples:GaussianJax"
TRAIN = [
    "critic=time_index",
    POLICY,
    "policy.spec.action_horizon=4",
    "train.updates=200",
    "train.learning_rate=0.03",
]
EPISODES, LENGTH = 8, 30


def recorded_episode(seed):
    """An arm in degrees and a gripper that is 0 or 1; its actions follow from its state of five numbers."""
    random = np.random.default_rng(seed)
    time = np.linspace(0, 3, LENGTH)[:, None] + random.uniform(0, 2)
    state = np.concatenate(
        [90 * np.sin(time * [1, 2, 0.5]), 1000 + 5 * np.cos(time), np.ones_like(time)], axis=1
    )
    actions = np.stack([state[:, 0] + 10, 0.01 * state[:, 1], state[:, 1] > 0], axis=1)
    numbers = {"proprio": state.astype(np.float32), "actions": actions.astype(np.float32)}
    unknown = {
        "success": None,
        "rewards": np.full(LENGTH, np.nan, np.float32),
        "segments": (),
        "style": "unknown",
    }
    size = {"length": LENGTH, "height": 24, "width": 40, "cameras": ("front_left", "hand")}
    return make_episode(seed, **size, **numbers, **unknown, fps=13.0, robot="so101")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_store(folder / "arm", [recorded_episode(seed) for seed in range(EPISODES)])
    return Lab(folder)


def run(lab, *arguments):
    return lab.run("env=none", "data=store", "data.path=arm", *TRAIN, *arguments)


def test_the_policy_follows_the_data_and_no_held_out_episode_is_read(lab):
    store = open_store(lab.folder / "arm")
    found = read_recorded(NoEnv(held_out=0.25, seed=3), store, as_recorded=False)
    again = read_recorded(NoEnv(held_out=2, seed=3), store, as_recorded=False)
    other = read_recorded(NoEnv(held_out=2, seed=4), store, as_recorded=False)
    assert found.held_out.tolist() == again.held_out.tolist() != other.held_out.tolist()
    assert sorted([*found.held_out, *found.training]) == list(range(EPISODES)) and len(found.held_out) == 2
    (chosen,) = configurations("run", ["policy=vla_scratch"])
    assert chosen.config.policy.shape(found.spec) == PolicySpec(("front_left", "hand"), 24, 5, 3, 10)
    wide = replace(found.spec, action_low=(-1.0,) * 34, action_high=(1.0,) * 34)
    assert [chosen.config.policy._config(env).width for env in (found.spec, wide)] == [256, 704]
    assert found.spec.control_rate == 13 and found.spec.horizon == LENGTH
    training = np.concatenate([store.episode(int(index), ()).actions for index in found.training])
    scaled = found.scaling.action(training)
    np.testing.assert_allclose(np.quantile(scaled, [0.01, 0.99], axis=0), [[-1] * 3, [1] * 3], atol=1e-4)
    assert found.scaling.action_most == tuple(float(one) for one in training.max(axis=0))
    assert not found.scaling.state(store.episode(0, ()).proprio)[:, 4].any()  # it never changes
    mean = read_recorded(NoEnv(scale="mean_std"), store, as_recorded=False)
    scaled = mean.scaling.action(
        np.concatenate([store.episode(int(index), ()).actions for index in mean.training])
    )
    np.testing.assert_allclose([scaled.mean(axis=0), scaled.std(axis=0)], [[0] * 3, [1] * 3], atol=1e-4)
    plain = read_recorded(NoEnv(), store, as_recorded=True)
    np.testing.assert_allclose(plain.scaling.action(training), training, rtol=1e-6)


def test_what_label_has_labelled_is_not_labelled_again(lab, monkeypatch):
    """Whatever the run leaves out; where one episode is not known, all are labelled."""
    run(lab, "method=bc", "train.updates=1", "data.exclude=[1]", "name=first_of_all")
    (own,) = (lab.folder / "outputs" / "artifacts").glob("label-*")
    monkeypatch.chdir(lab.folder)
    label(["arm", "critic=time_index", "out=elsewhere.parquet"])
    run(lab, "method=bc", "train.updates=1", "data.exclude=[3]", "name=known")
    told = (lab.folder / "outputs/runs/known/report.md").read_text()
    assert f"The values of all {(EPISODES - 1) * LENGTH} frames were known" in told
    assert lab.results("outputs", "known")["critic"]["labelling"]["frames_per_s"] is None
    (known,) = set((lab.folder / "outputs" / "artifacts").glob("label-*")) - {own}
    values = [pq.read_table(one / SIDECAR, columns=["progress_sparse"]) for one in (own, known)]
    assert values[0].equals(values[1])
    monkeypatch.setattr(ValueCache, "__contains__", lambda cache, one: False)
    run(lab, "method=bc", "train.updates=1", "data.exclude=[4]", "name=unknown")
    assert lab.results("outputs", "unknown")["critic"]["labelling"]["frames_per_s"] > 0


def test_it_is_trained_measured_and_served_in_the_datas_units(lab, monkeypatch, capsys):
    said = run(lab, "method=awr", "env.held_out=2", "name=first")
    assert "Success was not measured." in said
    found = lab.results("outputs", "first")
    assert found["place"] == "arm" and found["before"] is None and found["after"] is None
    held_out = found["held_out"]
    assert len(held_out["episodes"]) == 2 and held_out["chunks"]["all"] == 2 * LENGTH
    assert held_out["unknown"] == 0
    assert held_out["chunks"]["good"] == 2 * (LENGTH - 3)  # time goes on by less at the end of an episode
    for part in held_out["measures"].values():
        loss, error = part["loss"], part["action error"]
        assert loss["after"]["mean"] < loss["before"]["mean"]
        assert error["after"]["mean"] < 0.5 * error["before"]["mean"]
        assert error["after"]["mean"] < part["of the usual action"]["mean"]
        assert (
            error["change"]["low"]
            < error["change"]["mean"]
            == pytest.approx(error["after"]["mean"] - error["before"]["mean"])
        )
    assert [one["name"] for one in held_out["by_action"]] == ["[0]", "[1]", "[2]"]
    assert (
        held_out["by_action"][0]["after"] > 10 * held_out["by_action"][1]["after"]
    )  # degrees, and hundredths
    report = (lab.folder / "outputs/runs/first/report.md").read_text()
    assert (
        "success was not measured" in report
        and "## Held-out episodes" in report
        and "## Success" not in report
    )
    print_overview([f"outputs={lab.folder / 'outputs'}"])
    assert "not measured" in capsys.readouterr().out

    monkeypatch.chdir(lab.folder)
    (lab.folder / "arm").rename(lab.folder / "away")  # the robot's computer has no data
    try:
        served, _ = served_policy(["run=outputs/runs/first", POLICY, "policy.spec.action_horizon=4"])
    finally:
        (lab.folder / "away").rename(lab.folder / "arm")
    assert served.about["control_rate"] == 13 and served.metadata()["state_dim"] == 5
    episode = recorded_episode(100)
    pictures = {f"observation/{name}": np.zeros((24, 24, 3), np.uint8) for name in ("front_left", "hand")}
    chunks = [
        served.chunk({**pictures, "observation/state": episode.proprio[frame], "prompt": "go", "seed": frame})
        for frame in range(LENGTH)
    ]
    apart = np.abs(np.array(chunks)[:, 0] - episode.actions).mean(axis=0)
    assert apart[0] < 30 and apart[1] < 0.3  # of 180 degrees, and of 1.8


def test_what_does_not_fit_is_one_line(lab):
    own = ["env=none", "data=store", "data.path=arm"]
    for words, said in (
        (["method=grpo"], "there is nowhere to act"),
        (["evaluate_env=robosuite"], "not in evaluate_env="),
        (["critic=train"], "env=none collects nothing; choose one that is there"),
        (["env.held_out=8"], "8 of 8 episodes are to be held out"),
        (["env.held_out=1"], "must be a share of the episodes below 1, or their number"),
        (["env.scale=minmax"], "env.scale"),
        (["critic=time_index", "policy=vla"], "actions: the policy takes 7 numbers, the data set has 3"),
        (["critic=time_index", "policy=vla"], "(choose a policy that gives them: policy=vla_scratch"),
    ):
        assert said in lab.refused(*own, *words)
    assert "env=none collects nothing" in lab.refused("env=none")
    assert "env=none policy=vla_scratch" in lab.refused(*own[1:], "critic=time_index", "policy=vla_scratch")
    write_store(
        lab.folder / "films", [make_episode(seed, actions=np.zeros((12, 0), np.float32)) for seed in range(3)]
    )
    watched = ["env=none", "data=store", "data.path=films", "critic=time_index", "policy=vla_scratch"]
    said = lab.refused(*watched)
    assert "the policy is to learn some, the data set has no feature for them (name it: data.action=" in said
    configs = [one.config for one in configurations("run", own)]
    with pytest.raises(UserError, match="compared by success, which env=none does not measure"):
        _check_alike(configs)
