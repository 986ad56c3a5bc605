"""Measuring without training: a run's policy, and the same one behind a server."""

import json
import sys

import pytest

from envs.errors import UserError
from experiments import evaluate, serve
from experiments.lab.artifacts import Artifacts
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.pipeline import Experiment
from experiments.serving.policy_server import PolicyServer
from experiments.settings.cli import configurations
from policy_extraction.adapters.make import make_policy
from tests.experiments.serving.loopback import serving
from tests.experiments.test_own_environment import write_examples
from tests.policy_extraction.examples import GaussianTorch

SMALL = [
    "env.horizon=12",
    "evaluate.videos=0",
    "evaluate.episodes=4",
    "evaluate.workers=1",
    "evaluate.execute=2",
]
CHOICES = {
    "task": "lift",
    "env": "my_env:Reach",
    "policy": "tests.policy_extraction.examples:GaussianTorch",
    "method": "bc",
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a run in README's environment, whose policy has random weights."""
    write_examples(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    [chosen] = configurations(
        "run", [f"{group}={name}" for group, name in CHOICES.items()] + ["env.horizon=12"]
    )
    shape = chosen.config.policy.shape(chosen.config.env.spec(chosen.config.task))
    make_policy(GaussianTorch, shape, seed=3).save(tmp_path / "policy")
    results = {"choices": CHOICES, "settings": {"method": {"kind": "bc"}}, "policy": str(tmp_path / "policy")}
    (tmp_path / "results.json").write_text(json.dumps(results))
    yield tmp_path
    sys.modules.pop("my_env", None)


def measured(capsys, *arguments):
    evaluate.measure(arguments)
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_an_expert_resets_the_scene_between_episodes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scene = ["env.reset=self", "env.layout=2", "env.distractors=1", "env.instruction=push it in"]
    parts = ["task=close_drawer", f"policy={CHOICES['policy']}", "evaluate.horizon=4", *SMALL[1:]]
    found = measured(capsys, *parts, "evaluate.episodes=3", *scene)
    assert found["episodes"] == 3 and found["resets"] == {"by_expert": 2, "by_hand": 0}


def test_a_policy_behind_a_server_does_as_it_does_here(run, capsys):
    (run / "results.json").write_text((run / "results.json").read_text().replace('"settings"', '"other"'))
    here = measured(capsys, f"run={run}", *SMALL)
    assert here["episodes"] == 4 and here["mean_return"] < 0 and here["resets"] is None
    served, bind = serve.served_policy([f"run={run}", "env.horizon=12", "bind.port=0"])
    with serving(PolicyServer(served, bind).run) as url:
        there = measured(capsys, "policy=remote", f"policy.url={url}", "env=my_env:Reach", *SMALL)
        assert there == here
        with pytest.raises(UserError, match="failed: proprio"):
            measured(capsys, "policy=remote", f"policy.url={url}", "task=lift")


def test_a_run_is_measured_as_it_was_trained(run, capsys):
    results = json.loads((run / "results.json").read_text())
    results["settings"] = {"method": {"kind": "advantage_conditioned", "suffix": "!"}}
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match="was trained with method=advantage_conditioned"):
        measured(capsys, f"run={run}", *SMALL)
    with pytest.raises(UserError, match="no trained policy in"):
        measured(capsys, "run=nowhere")


def test_what_to_serve_has_to_be_said():
    with pytest.raises(UserError, match="say what to serve"):
        serve.serve(["bind.port=0"])


def test_training_what_is_behind_a_server_is_refused(tmp_path):
    [chosen] = configurations("run", ["policy=remote", "policy.url=ws://127.0.0.1:9"])
    context = Context(Artifacts(tmp_path), Tracker(None), Simulators())
    with pytest.raises(UserError, match="cannot be trained here, only measured"):
        Experiment(chosen.config, context).check()
