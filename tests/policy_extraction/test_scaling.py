"""A policy in the data's own units, around one in [-1, 1]."""

import numpy as np
import pytest

from envs.errors import UserError
from envs.types import Observation
from policy_extraction.adapters.make import make_policy
from policy_extraction.methods.bc import BC
from policy_extraction.scaling import SCALING_FILE, ScaledPolicy, Scaling, read_scaling
from policy_extraction.types import Policy, PolicySpec, Training
from tests.policy_extraction.examples import GaussianTorch

SCALING = Scaling((0.0, -90.0), (10.0, 90.0), (-50.0,), (150.0,), (-60.0,), (140.0,))
SPEC = PolicySpec(cameras=(), proprio_dim=2, action_dim=1, action_horizon=2)
SEEN = Observation({}, np.array([[5, 90], [20, 0]], np.float32), ("go", "go"))


def made(scaling=SCALING):
    return ScaledPolicy(make_policy(GaussianTorch, SPEC, Training(learning_rate=0.1, warmup=0)), scaling, {})


def test_numbers_by_hand():
    np.testing.assert_allclose(SCALING.state(SEEN.proprio), [[0, 1], [3, 0]])
    np.testing.assert_allclose(
        SCALING.action(np.array([-50.0, 50, 150, 250])[:, None]), [[-1], [0], [1], [2]]
    )
    given = SCALING.own_action(np.array([-1, 0, 0.5, 1, -1.2], np.float32)[:, None])
    np.testing.assert_allclose(given[:, 0], [-50, 50, 100, 140, -60])  # 150 and −70 were never recorded


def test_what_it_reads_learns_and_gives_is_scaled(tmp_path):
    policy, inner = made(), made().policy
    assert isinstance(policy, Policy)
    np.testing.assert_allclose(policy.preprocess(SEEN)["proprio"], SCALING.state(SEEN.proprio))
    scaled = Observation({}, SCALING.state(SEEN.proprio), SEEN.instruction)
    seeds = np.arange(2)
    np.testing.assert_allclose(policy.act(SEEN, seeds), SCALING.own_action(inner.act(scaled, seeds)))
    own, unit = np.full((2, 2, 1), 100, np.float32), np.full((2, 2, 1), 0.5, np.float32)
    inputs = policy.preprocess(SEEN)
    batch = {"observation": inputs, "action": own}
    np.testing.assert_allclose(policy.log_prob(batch), inner.log_prob({**batch, "action": unit}))
    many = {
        "observation": {n: a[None].repeat(200, 0) for n, a in inputs.items()},
        "action": own[None].repeat(200, 0),
    }
    columns = {"advantage": np.zeros((200, 2), np.float32), "weight": np.ones((200, 2), np.float32)}
    policy.update({**many, **columns}, BC())
    assert np.abs(policy.act(SEEN, seeds) - 100).mean() < 25
    policy.save(tmp_path)
    again = made(Scaling((0.0, 0.0), (1.0, 1.0), (0.0,), (1.0,), (0.0,), (1.0,)))
    again.restore(tmp_path)
    np.testing.assert_array_equal(again.act(SEEN, seeds), policy.act(SEEN, seeds))


def test_what_is_wrong_is_one_line(tmp_path):
    with pytest.raises(UserError, match="the state has 3 numbers, the policy reads 2"):
        made().act(Observation({}, np.zeros((1, 3), np.float32), ("go",)), np.zeros(1))
    for content in ("{", '{"scaling": {"state_low": [1.0]}, "about": {}}'):
        (tmp_path / SCALING_FILE).write_text(content)
        with pytest.raises(UserError, match=r"scaling\.json is not a policy's scaling"):
            read_scaling(tmp_path)
