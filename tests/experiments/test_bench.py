"""Every measurement of `bench`, as small as it can be: it runs, and its figures belong together."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from envs.errors import UserError
from experiments.bench import run_bench
from policy_extraction.methods import METHODS
from tests.experiments.imagined import SMALL, write_world
from value_model.imagination.refine_config import RefineConfig


@pytest.fixture
def found(capsys):
    def measured(*words: str) -> dict:
        run_bench(words)
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return measured


def test_rollout(found):
    speed = found("rollout", "steps=20", "task=lift", "task.image_size=32")
    assert speed["ratio"] == pytest.approx(speed["fps"] / speed["stock_fps"])
    assert min(speed.values()) > 0


def test_methods(found):
    cost = found("methods", "updates=1", "batch_size=8")
    assert set(cost) == set(METHODS) - {"value_gradient"}
    assert all(one["overhead"] > -1 for one in cost.values())


def test_resources(found):
    needs = found("resources", "preset=tiny", "most=1")
    assert needs["parameters"] > 1e6


def test_imagination(found, tmp_path):
    write_world(tmp_path)
    words = [f"env.path={tmp_path}/world", "worlds=[1,2]", "horizon=8", "workers=1"]
    speed = found("imagination", *words)
    assert set(speed["imagined_steps_per_s"]) == {"1", "2"}
    best = max(speed["imagined_steps_per_s"].values())
    assert speed["ratio"] == pytest.approx(best / speed["simulator_steps_per_s"])
    assert 0 < speed["matmul_share"] < 1
    assert speed["model_steps_per_s"] > best  # without a policy and pictures
    floats = 3 * 8 * 16 * 4 + 2 * 8  # three latent frames of both cameras, proprioception and its change
    assert speed["bytes_per_world"] == 4 * floats + 4 * 16  # words


def test_dynamics(found, tmp_path):
    write_world(tmp_path)
    write_world(tmp_path, replace(SMALL, refine=RefineConfig(steps=1, layers=1)), "refined")
    worlds = f"worlds=[{tmp_path}/world,{tmp_path}/refined]"
    few = ["experience.styles={clean:10}", "experience.rollouts=0", f"outputs={tmp_path}"]
    rows = found("dynamics", worlds, "tasks=[lift]", "steps=[1,2,3]", *few)["rows"]
    names = [(row["world"], row["steps"]) for row in rows]
    assert names == [("world", 0), ("refined", 1), ("refined", 2), ("refined", 3)]
    mean, one, two, three = rows
    assert mean["latent_copy"] == three["latent_copy"]  # the same clips, the same tokenizer
    assert mean["sharpness_recorded"] == three["sharpness_recorded"] > 0
    assert mean["flops_per_step"] < one["flops_per_step"]
    further = two["flops_per_step"] - one["flops_per_step"]
    assert three["flops_per_step"] - two["flops_per_step"] == pytest.approx(further, rel=0.02)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("dynamics",), "say which world models"),
        (("dynamics", "worlds=[/nowhere]", "tasks=[lit]"), "lift"),
        (("dynamics", "worlds=[/nowhere]"), "no world model in /nowhere"),
        (("dynamics", "worlds=[/nowhere]", "steps=[0]"), "at least 1"),
        ((), "say what to measure: rollout or methods"),
        (("rolout",), "rollout"),
        (("rollout", "task=lit"), "lift"),
        (("label", "groups=1"), "at least 2"),
        (("imagination", "env=robosuite"), "env=imagination"),
        (("imagination", "env.path=/nowhere"), "no world model in /nowhere"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(words, message):
    with pytest.raises(UserError, match=message) as caught:
        run_bench(words)
    assert "\n" not in str(caught.value)
