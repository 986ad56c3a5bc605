"""Every method's formula against numbers worked out by hand, and the same in numpy, JAX and torch."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from envs.errors import UserError
from policy_extraction.check import check_method
from policy_extraction.methods import METHODS
from policy_extraction.methods.advantage_conditioned import AdvantageConditioned
from policy_extraction.methods.awr import AWR
from policy_extraction.methods.bc import BC
from policy_extraction.methods.crr import CRR
from policy_extraction.methods.filtered_bc import FilteredBC
from policy_extraction.methods.grpo import GRPO
from policy_extraction.methods.preference import Preference
from policy_extraction.methods.rabc import RABC
from policy_extraction.methods.value_gradient import ValueGradient
from policy_extraction.methods.weighting import top_share, weighted_loss
from policy_extraction.types import Foresight, Rollouts, learns_from_data, online_rollouts
from tests.policy_extraction.examples import dataset

LOG_PROB = np.array([-1.0, -2.0, -3.0], np.float32)
NAN = float("nan")


def test_weighted_loss_is_the_published_one():
    # Σwℓ / (Σw + 1e-6) = (1·1 + .5·2 + 0·3) / 1.5
    weight = np.array([1, 0.5, 0], np.float32)
    loss = weighted_loss(np, weight, -LOG_PROB)
    assert loss.mean() == pytest.approx(2 / (1.5 + 1e-6))
    assert weighted_loss(np, np.zeros(3, np.float32), -LOG_PROB).tolist() == [0, 0, 0]


def test_bc():
    assert BC().loss(np, LOG_PROB, {}).tolist() == [1, 2, 3]


def test_top_share_breaks_ties_at_random():
    values = np.array([0, 1, 0, 0, 0], np.float32)
    kept = np.stack([top_share(values, 0.6, seed) for seed in range(40)])
    assert (kept.sum(1) == 3).all()
    assert kept[:, 1].all()
    assert kept.any(0).all()
    assert not np.array_equal(kept[0], kept[1]) or not np.array_equal(kept[0], kept[2])
    np.testing.assert_array_equal(top_share(values, 0.6, 0), kept[0])


def test_filtered_bc():
    advantage = [0.3, -0.1, 0.0, 0.2, -0.2]
    assert FilteredBC(rule="binary").select(dataset(advantage)).weight.tolist() == [1, 0, 1, 1, 0]
    assert FilteredBC(rule="binary", threshold=0.25).select(dataset(advantage)).weight.tolist() == [
        1,
        0,
        0,
        0,
        0,
    ]
    assert FilteredBC(keep=0.6).select(dataset(advantage)).weight.tolist() == [1, 0, 1, 1, 0]
    # at least half of the median, .1; whatever share that is; what is unknown is kept
    usual = FilteredBC(rule="usual").select(dataset([0.3, 0.04, 0.05, 0.1, NAN, 0.2])).weight
    assert usual.tolist() == [1, 0, 1, 1, 1, 1]
    batch = {"weight": np.array([1, 0, 1], np.float32)}
    # kept losses 1 and 3: their mean
    assert FilteredBC().loss(np, LOG_PROB, batch).mean() == pytest.approx(2)


def test_of_a_kept_chunk_the_actions_before_what_is_not_kept():
    # two episodes of frames 0 … 5 and 0 … 1, H = 3; kept: all but frames 3 and 4 of the first
    rows = replace(
        dataset([1.0, 1, 1, -1, -1, 1, 1, 1]),
        episode=np.array([0] * 6 + [1] * 2),
        frame=np.array([0, 1, 2, 3, 4, 5, 0, 1]),
    )
    rows = replace(rows, action=np.zeros((8, 3, 2), np.float32))
    whole, part = (FilteredBC(rule="binary", prefix=prefix).select(rows) for prefix in (False, True))
    assert whole.executed is None and part.weight.tolist() == [1, 1, 1, 0, 0, 1, 1, 1]
    # from frame 1 two actions come before frame 3, from frame 2 one; the last frames have all of theirs
    assert part.executed is not None and part.executed[[0, 1, 2, 5, 6, 7]].tolist() == [3, 2, 1, 3, 3, 3]
    assert part.executed.min() >= 1, "a chunk without any would have no mean"
    # every other frame: a row speaks for two actions
    some = rows.rows(rows.frame % 2 == 0)
    found = FilteredBC(rule="binary", prefix=True).select(some).executed
    assert found is not None and found[[0, 1, 3]].tolist() == [3, 2, 3]
    # the order of the rows does not matter
    order = np.random.default_rng(0).permutation(8)
    mixed = FilteredBC(rule="binary", prefix=True).select(rows.rows(order)).executed
    assert mixed is not None and mixed.tolist() == part.executed[order].tolist()


def test_filtered_bc_says_what_it_takes():
    with pytest.raises(UserError, match="'percentile', 'binary' or 'usual'"):
        FilteredBC(rule="best")
    with pytest.raises(UserError, match="share"):
        FilteredBC(keep=70.0)


def test_awr():
    # τ = 10: exp(−1) = .368, exp(.5) = 1.649, exp(1) → 2; their mean is 1.339
    batch = {"advantage": np.array([-0.1, 0.05, 0.1], np.float32)}
    weight = np.array([np.exp(-1), np.exp(0.5), 2])
    assert AWR().loss(np, LOG_PROB, batch) == pytest.approx(weight / weight.mean() * [1, 2, 3], rel=1e-5)


def test_awr_chooses_its_temperature_by_how_many_samples_count():
    # two values: w = 1 and e^(−τd); worth (1 + x)² / (2 (1 + x²)) of them = .9 at x = .5
    two = AWR(effective=0.9).select(dataset([0.3, 0.1])).weight
    assert two == pytest.approx([4 / 3, 2 / 3], rel=1e-4)
    some = np.random.default_rng(0).normal(size=500).astype(np.float32)
    for scale in (1e-3, 1.0, 1e3):
        weight = AWR(effective=0.5).select(dataset(scale * some)).weight
        assert weight.mean() == pytest.approx(1, rel=1e-4)
        assert weight.sum() ** 2 / (weight**2).sum() == pytest.approx(250, rel=1e-3)
        assert (np.diff(weight[np.argsort(some)]) >= 0).all()
    assert AWR(effective=0.5).select(dataset([0.1, 0.1, 0.1])).weight == pytest.approx([1, 1, 1])
    unknown = AWR(effective=0.9).select(dataset([0.3, NAN, 0.1])).weight
    assert unknown == pytest.approx([4 / 3, 1, 2 / 3], rel=1e-4)
    batch = {"weight": np.array([4 / 3, 2 / 3, 1], np.float32), "advantage": np.zeros(3, np.float32)}
    assert AWR(effective=0.9).loss(np, LOG_PROB, batch) == pytest.approx([4 / 3, 4 / 3, 3], rel=1e-5)
    assert AWR().select(data := dataset([0.3, 0.1])) is data
    with pytest.raises(UserError, match="effective is 1"):
        AWR(effective=1.0)


def test_crr():
    # β = .1: exp(−1), exp(.5), exp(4) → 20; not divided by their mean; an unknown one is their mean
    batch = {"advantage": np.array([-0.1, 0.05, 0.4], np.float32)}
    assert CRR().loss(np, LOG_PROB, batch) == pytest.approx([np.exp(-1), 2 * np.exp(0.5), 60], rel=1e-5)
    batch = {"advantage": np.array([0.0, 0.2, NAN], np.float32)}
    assert CRR(rule="binary").loss(np, LOG_PROB, batch) == pytest.approx([0, 2, 1.5])
    for mistake in ({"rule": "max"}, {"beta": 0.0}):
        with pytest.raises(UserError, match=r"method\."):
            CRR(**mistake)


def test_preference():
    # by value: rows 2, 0 and 1, 3 and 4. Of the first pair row 0 gained more, of the second row 1; 4 is alone
    batch = {
        "value": np.array([0.2, 0.5, 0.1, 0.6, NAN], np.float32),
        "advantage": np.array([0.3, 0.2, 0.1, -0.2, 0.0], np.float32),
    }
    log_prob = np.array([-1, -2, -3, -1, -5], np.float32)
    first = 1 + 0.5 * np.log1p(np.exp(-(-1 + 3)))
    second = 2 + 0.5 * np.log1p(np.exp(-(-2 + 1)))
    loss = Preference().loss(np, log_prob, batch)
    assert loss == pytest.approx([first, second, first, second, 5], rel=1e-5)
    # the same gains, and unknown ones: both are cloned
    batch["advantage"] = np.array([0.1, NAN, 0.1, 0.2, 0.0], np.float32)
    assert Preference().loss(np, log_prob, batch) == pytest.approx([2, 1.5, 2, 1.5, 5])
    batch["advantage"] = np.array([0.3, 0.2, 0.1, -0.2, 0.0], np.float32)
    assert Preference(weight=0.0).loss(np, log_prob, batch) == pytest.approx([1, 2, 1, 2, 5])
    with pytest.raises(UserError, match=r"method\.scale above 0"):
        Preference(scale=0.0)


def test_rabc():
    # mean = .1, std = .2: soft(.005) = (.005 − (.1 − .4)) / .8 = .38125; soft(0) = .375
    advantage = np.array([0.3, 0.005, -0.2, 0.0, 0.395], np.float32)
    mean, std = advantage.mean(), advantage.std()
    soft = lambda a: (a - (mean - 2 * std)) / (4 * std + 1e-6)  # noqa: E731
    weight = RABC().select(dataset(advantage)).weight
    assert weight == pytest.approx([1, soft(0.005), 0, soft(0.0), 1])
    assert mean == pytest.approx(0.1)
    # a data set that loses on average: μ = 0, σ = .15, soft(0) = .3 / .6
    assert RABC().select(dataset([0.0, -0.3])).weight == pytest.approx([0.5, 0], abs=1e-5)
    assert RABC().select(dataset([np.nan, 0.5, -0.5])).weight.tolist() == [1, 1, 0]
    assert RABC().loss(np, LOG_PROB, {"weight": np.array([1, 0.5, 0], np.float32)}).mean() == pytest.approx(
        2 / 1.5
    )


def test_advantage_conditioned():
    method = AdvantageConditioned(positive=0.4, drop=0.0)
    prompts = method.select(dataset([0.5, 0.1, 0.9, 0.0, -0.3])).instruction
    assert [text.endswith("positive") for text in prompts] == [True, False, True, False, False]
    assert prompts[1] == "stack the cubes Advantage: negative"
    assert method.act_instruction("stack the cubes") == prompts[0]
    some = AdvantageConditioned(drop=0.3).select(dataset(np.linspace(0, 1, 1000))).instruction
    assert 0.25 < np.mean(some == "stack the cubes") < 0.35
    with pytest.raises(UserError, match="too long"):
        method.select(dataset([0.0], instruction=np.array(["a " * 20])))
    with pytest.raises(UserError, match="drop"):
        AdvantageConditioned(drop=0.0, guidance=2.0)


def test_unknown_advantages_are_neither_dropped_nor_bad():
    # the known ones are ranked: two of the four best, and the unknown is kept
    advantage = [0.3, -0.1, NAN, 0.2, -0.2]
    assert FilteredBC(keep=0.5).select(dataset(advantage)).weight.tolist() == [1, 0, 1, 1, 0]
    assert FilteredBC(rule="binary").select(dataset(advantage)).weight.tolist() == [1, 0, 1, 1, 0]
    prompts = AdvantageConditioned(positive=0.5, drop=0.0).select(dataset(advantage)).instruction
    assert [text.removeprefix("stack the cubes") for text in prompts] == [
        " Advantage: positive",
        " Advantage: negative",
        "",
        " Advantage: positive",
        " Advantage: negative",
    ]


@pytest.mark.parametrize("xp", [np, jnp, torch])
def test_awr_weighs_an_unknown_advantage_like_the_mean_of_the_others(xp):
    # τ = 10: exp(−1) = .368 and exp(.05·10) = 1.649, mean 1.008; the unknown weighs 1 after division by the mean
    array = torch.tensor if xp is torch else xp.asarray
    loss = AWR().loss(xp, array(LOG_PROB), {"advantage": array(np.array([-0.1, NAN, 0.05], np.float32))})
    mean = (np.exp(-1) + np.exp(0.5)) / 2
    assert np.asarray(loss) == pytest.approx([np.exp(-1) / mean, 2, 3 * np.exp(0.5) / mean], rel=1e-5)
    nothing = AWR().loss(xp, array(LOG_PROB), {"advantage": array(np.full(3, np.nan, np.float32))})
    assert np.asarray(nothing) == pytest.approx([1, 2, 3], rel=1e-5)


def rollouts(outcomes):
    """Groups of rollouts of two chunks each: outcomes [groups, rollouts]."""
    outcomes = np.array(outcomes, np.float32)
    count = outcomes.size
    return dataset(
        np.zeros(2 * count),
        episode=np.repeat(np.arange(count), 2),
        group=np.repeat(np.arange(len(outcomes)), 2 * outcomes.shape[1]),
        outcome=np.repeat(outcomes.ravel(), 2),
    )


def test_grpo_keeps_groups_that_tell_good_from_bad():
    selected = GRPO().select(rollouts([[1, 1, 1], [1, 0, 0], [0, 0, 0]]))
    assert set(selected.group) == {1}
    # mean 1/3, sample std √(1/3): (2/3, −1/3, −1/3) / √(1/3), the same for both chunks of a rollout
    spread = np.sqrt(1 / 3) + 1e-6
    assert selected.advantage == pytest.approx(np.repeat([2 / 3, -1 / 3, -1 / 3], 2) / spread)
    assert len(GRPO().select(rollouts([[1, 1], [0, 0]]))) == 0


def test_grpo_clips_higher():
    # ratios 2, 2, .5, .5 with A = 1, −1, 1, −1: min(2, 1.28), min(−2, −1.28), min(.5, .8), min(−.5, −.8)
    batch = {
        "advantage": np.array([1, -1, 1, -1], np.float32),
        "behavior_log_prob": np.zeros(4, np.float32),
    }
    log_prob = np.log(np.array([2, 2, 0.5, 0.5], np.float32))
    assert GRPO().loss(np, log_prob, batch) == pytest.approx([-1.28, 2, -0.5, 0.8], rel=1e-5)
    # by tokens: the mean over the tokens of a chunk
    tokens = {"advantage": np.array([1], np.float32), "behavior_log_prob": np.zeros((1, 2), np.float32)}
    assert GRPO().loss(np, np.log([[2, 0.5]]), tokens) == pytest.approx([-(1.28 + 0.5) / 2])


@pytest.mark.parametrize("xp", [np, jnp, torch])
def test_grpo_learns_from_executed_actions_alone(xp):
    # three actions of one token, ratios 2, .5, 4 and A = 1, two executed: (1.28 + .5) / 2; then one: 1.28
    array = torch.tensor if xp is torch else xp.asarray
    batch = {
        "advantage": array(np.ones(2, np.float32)),
        "behavior_log_prob": array(np.zeros((2, 3), np.float32)),
        "executed": array(np.array([[1, 1, 0], [1, 0, 0]], np.float32)),
    }
    log_prob = array(np.log(np.array([[2, 0.5, 4]] * 2, np.float32)))
    assert np.asarray(GRPO().loss(xp, log_prob, batch)) == pytest.approx([-0.89, -1.28], rel=1e-5)


@pytest.mark.parametrize("xp", [np, jnp, torch])
def test_grpo_is_held_near_the_policy_before_training(xp):
    # β = .5, ratio 1, A = 1 and π_0/π = 1, 2: −1 and −1 + .5 (2 − ln 2 − 1); by tokens the mean of both
    array = torch.tensor if xp is torch else xp.asarray
    log_prob, base = np.zeros((1, 2), np.float32), np.log(np.array([[1, 2]], np.float32))
    batch = {
        "advantage": array(np.ones(2, np.float32)),
        "behavior_log_prob": array(log_prob[0]),
        "base_log_prob": array(base[0]),
    }
    away = 0.5 * (1 - np.log(2))
    assert np.asarray(GRPO(kl=0.5).loss(xp, array(log_prob[0]), batch)) == pytest.approx([-1, -1 + away])
    tokens = {
        "advantage": array(np.ones(1, np.float32)),
        "behavior_log_prob": array(log_prob),
        "base_log_prob": array(base),
    }
    assert np.asarray(GRPO(kl=0.5).loss(xp, array(log_prob), tokens)) == pytest.approx([-1 + away / 2])
    with pytest.raises(UserError, match="must not be negative"):
        GRPO(kl=-1.0)


def test_value_gradient():
    # gains .25, −.5, 0 and log-probabilities −1, −2, −3 with β = .1: −.25 + .1, .5 + .2, .3
    batch = {"gain": np.array([0.25, -0.5, 0], np.float32)}
    assert ValueGradient(anchor=0.1).loss(np, LOG_PROB, batch) == pytest.approx([-0.15, 0.7, 0.3])
    assert not learns_from_data(ValueGradient()) and not learns_from_data(GRPO()) and learns_from_data(BC())
    with pytest.raises(UserError, match="not be negative"):
        ValueGradient(anchor=-1.0)
    with pytest.raises(UserError, match="execute is 0"):
        Foresight(execute=0)


def test_only_grpo_is_online():
    assert {name for name, method in METHODS.items() if online_rollouts(method())} == {"grpo"}
    assert online_rollouts(GRPO(online=Rollouts(group_size=4))).group_size == 4
    with pytest.raises(UserError, match="at least 2"):
        Rollouts(group_size=1)


@pytest.mark.parametrize("name", METHODS)
def test_methods_pass_their_check(name):
    check_method(METHODS[name]())


def test_a_method_that_compares_with_the_base_passes_its_check():
    check_method(GRPO(kl=0.1))


def selected_batch(method, tokens):
    rng = np.random.default_rng(0)
    data = method.select(
        replace(rollouts(rng.integers(0, 2, (4, 4))), advantage=rng.normal(size=32).astype(np.float32))
    )
    shape = (len(data), 5) if tokens else (len(data),)
    return {
        "x": rng.normal(size=(len(data), 3)).astype(np.float32),
        "y": rng.normal(size=shape).astype(np.float32),
        "advantage": data.advantage,
        "value": rng.uniform(size=len(data)).astype(np.float32),
        "weight": data.weight,
        "behavior_log_prob": -np.abs(rng.normal(size=shape)).astype(np.float32),
        "gain": rng.normal(size=len(data)).astype(np.float32),
    }


def five_steps_of_jax(method, batch, weights):
    def loss(w):
        predicted = jnp.asarray(batch["x"]) @ w
        log_prob = -(
            (predicted - batch["y"]) ** 2 if batch["y"].ndim == 2 else (predicted[:, 0] - batch["y"]) ** 2
        )
        return jnp.mean(method.loss(jnp, log_prob, batch))

    losses = []
    for _ in range(5):
        value, gradient = jax.value_and_grad(loss)(weights)
        losses.append(float(value))
        weights = weights - 0.05 * gradient
    return losses, np.asarray(weights)


def five_steps_of_torch(method, batch, weights):
    batch = {name: torch.from_numpy(array) for name, array in batch.items()}
    w = torch.tensor(weights, requires_grad=True)
    losses = []
    for _ in range(5):
        predicted = batch["x"] @ w
        log_prob = -(
            (predicted - batch["y"]) ** 2 if batch["y"].ndim == 2 else (predicted[:, 0] - batch["y"]) ** 2
        )
        loss = method.loss(torch, log_prob, batch).mean()
        (gradient,) = torch.autograd.grad(loss, w)
        losses.append(loss.item())
        w = (w - 0.05 * gradient).detach().requires_grad_()
    return losses, w.detach().numpy()


@pytest.mark.parametrize(("name", "tokens"), [(name, False) for name in METHODS] + [("grpo", True)])
def test_methods_are_the_same_in_every_framework(name, tokens):
    """Equal losses in numpy, JAX and torch, and equal weights after five steps of gradient descent."""
    method = METHODS[name]()
    batch = selected_batch(method, tokens)
    weights = np.random.default_rng(1).normal(size=(3, 5 if tokens else 1)).astype(np.float32)
    jax_losses, jax_weights = five_steps_of_jax(method, batch, weights)
    torch_losses, torch_weights = five_steps_of_torch(method, batch, weights)
    np.testing.assert_allclose(jax_losses, torch_losses, rtol=2e-6)
    np.testing.assert_allclose(jax_weights, torch_weights, rtol=0, atol=1e-6)
    predicted = batch["x"] @ weights
    log_prob = -((predicted - batch["y"]) ** 2 if tokens else (predicted[:, 0] - batch["y"]) ** 2)
    assert method.loss(np, log_prob, batch).mean() == pytest.approx(jax_losses[0], rel=2e-6)
