"""The bench of judges: its numbers by hand, and judges of a small world against its truth, told or repeated."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from experiments.judge_bench import judge_bench
from experiments.reports.verdicts import area_under_curve, verdict_quality, verdict_table
from tests.experiments.stages.test_improve import Level

NAN = float("nan")


def test_quality_by_hand():
    rewards = np.array([1.0, 1.0, 0.0, 0.0, NAN, 0.2])
    truth = np.array([True, False, True, False, True, False])
    found = verdict_quality(rewards, rewards, truth, 0.5)
    assert found["precision"][0] == 0.5 and found["recall"][0] == 0.5 and found["f1"] == 0.5
    assert found["no_verdict"][0] == pytest.approx(1 / 6)
    # solved 1, 0 against failed 1, 0, .2: wins 2, ties 2, losses 2 of 6
    assert found["auc"] == pytest.approx(3 / 6)
    low, high = found["precision"][1:]
    assert low == pytest.approx(0.0945, abs=1e-3) and high == pytest.approx(0.9055, abs=1e-3)
    nothing = verdict_quality(np.zeros(2), np.zeros(2), np.zeros(2, bool), 0.5)
    assert nothing["precision"] is None and nothing["recall"] is None and nothing["f1"] is None
    assert "| critic | 0.50 [0.09, 0.91] |" in verdict_table({"critic": found, "none": nothing})
    assert area_under_curve(np.array([1.0, 2.0, 2.0]), np.array([False, True, False])) == pytest.approx(0.75)


class Steady(nnx.Module):
    """A policy that always raises, at any temperature."""

    sampling_options = ("temperature",)

    def __init__(self, spec, rngs):
        self.shape = (spec.action_horizon, spec.action_dim)
        self.bias = nnx.Param(jnp.zeros(1))

    def log_prob(self, observation, action):
        return jnp.zeros(len(action)) + self.bias[...]

    def sample(self, observation, key):
        return jnp.ones((len(observation["proprio"]), *self.shape)) / 2


class Silent(Level):
    """The same world, which does not say whether its task is solved."""

    def step(self, action):
        *rest, _ = super().step(action)
        return (*rest, {})


def cautious(rollouts):
    """A judge from outside: no verdict on the first, success where the picture is bright at the end."""
    given = [float(r.recording.film.images["picture"][-1].mean() >= 99) for r in rollouts]
    return [NAN, *given[1:]]


@pytest.mark.parametrize("world", ["Silent", "Level"])
def test_judges_are_measured_where_the_truth_is_told_or_repeated(world, tmp_path, capsys):
    truth = "tests.experiments.stages.test_improve:Level"
    place = truth if world == "Level" else f"{__name__}:Silent"
    policy = f"policy={__name__}:Steady"
    words = [f"env={place}", f"evaluate_env={truth}", "env.horizon=30", "evaluate_env.horizon=30", policy]
    words += [f"rewards=[env,{__name__}:cautious]", "rollouts=8", "temperatures=[1,2]", "execute=3"]
    judge_bench([*words, "cut=.99", "workers=2", f"outputs={tmp_path}"])
    *_, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found["rollouts"] == 16 and found["success"] == 0.75  # a quarter of the seeds is blocked
    assert set(found["judges"]) == {"env", f"{__name__}:cautious"} and set(found["temperatures"]) == {
        "1",
        "2",
    }
    env, own = found["judges"].values()
    assert env["recall"][0] == 1.0 and env["precision"][0] == 0.75  # it does not know what is blocked
    assert own["no_verdict"][0] == 2 / 16


def test_wrong_settings_are_one_line(tmp_path):
    for word, message in {
        "rewards=[]": "name the judges",
        "rewards=[vlm]": "reward=vlm needs a model",
        "temperatures=[0]": "must be positive",
        "rewards=[critik]": "did you mean critic",
    }.items():
        with pytest.raises(UserError, match=message):
            judge_bench([word, f"outputs={tmp_path}"])
