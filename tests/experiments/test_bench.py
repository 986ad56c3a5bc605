"""Every measurement of `bench`, as small as it can be: it runs, and its figures belong together."""

from __future__ import annotations

import json

import pytest

from envs.errors import UserError
from experiments.bench import run_bench
from policy_extraction.methods import METHODS


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
    assert set(cost) == set(METHODS)
    assert all(one["overhead"] > -1 for one in cost.values())


def test_resources(found):
    needs = found("resources", "preset=tiny", "most=1")
    assert needs["parameters"] > 1e6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say what to measure: rollout or methods"),
        (("rolout",), "rollout"),
        (("rollout", "task=lit"), "lift"),
        (("label", "groups=1"), "at least 2"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(words, message):
    with pytest.raises(UserError, match=message) as caught:
        run_bench(words)
    assert "\n" not in str(caught.value)
