"""Both adapters: learning, acting, resuming, refusing."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from envs.errors import UserError
from policy_extraction.adapters.jax_policy import JaxPolicy
from policy_extraction.adapters.make import make_policy
from policy_extraction.adapters.schedule import ema_decay, learning_rate
from policy_extraction.adapters.torch_policy import TorchPolicy
from policy_extraction.check import example_observation
from policy_extraction.methods.awr import AWR
from policy_extraction.methods.bc import BC
from policy_extraction.methods.filtered_bc import FilteredBC
from policy_extraction.methods.grpo import GRPO
from policy_extraction.types import STATE_FILE, Sampling, Training
from tests.policy_extraction.examples import SPEC, GaussianJax, GaussianTorch, batches

TRAINING = Training(learning_rate=0.03, warmup=5, updates=300)
MODULES = {"jax": GaussianJax, "torch": GaussianTorch}


@pytest.fixture(params=MODULES)
def framework(request):
    return request.param


def policy_of(framework, training=TRAINING, seed=0):
    return make_policy(MODULES[framework], SPEC, training, seed)


def test_the_class_decides_on_the_adapter():
    assert isinstance(policy_of("jax"), JaxPolicy)
    assert isinstance(policy_of("torch"), TorchPolicy)


def test_learning_rate():
    training = Training(learning_rate=1.0, warmup=3, updates=13, final_fraction=0.1)
    # warm-up 1/4, 2/4, 3/4, 1; half way down the cosine .1 + .9·.5; the end and beyond .1
    rates = [learning_rate(np, training, step) for step in (0, 1, 2, 3, 8, 13, 20)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 0.55, 0.1, 0.1])
    constant = replace(training, final_fraction=1.0)
    assert learning_rate(np, constant, 12) == pytest.approx(1)
    assert ema_decay(np, Training(ema=0.5), 0) == pytest.approx(0.1)
    assert ema_decay(np, Training(ema=0.5), 1000) == pytest.approx(0.5)


def test_it_learns(framework):
    policy = policy_of(framework)
    first = policy.update(batches(1), BC())
    policy.update(batches(200, seed=1), FilteredBC())
    last = policy.update(batches(1), BC())
    assert last["loss"] < 0.01 < 0.3 < first["loss"]
    assert last["log_prob"] == pytest.approx(-last["loss"])


def test_frameworks_train_to_the_same_weights():
    jax_policy, torch_policy = policy_of("jax"), policy_of("torch")
    kernel = np.asarray(jax_policy.module.mean.kernel[...])
    with torch.no_grad():
        for module in (torch_policy._module, torch_policy.module):
            module.mean.weight.copy_(torch.tensor(kernel.T))
            module.mean.bias.zero_()
    data = batches(20)
    ours, theirs = jax_policy.update(data, AWR()), torch_policy.update(data, AWR())
    for name in ours:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4)
    trained = torch_policy.module.mean.weight.numpy().T
    np.testing.assert_allclose(np.asarray(jax_policy.module.mean.kernel[...]), trained, atol=2e-5)


def test_a_row_is_drawn_from_its_own_seed(framework):
    policy = policy_of(framework)
    observation = example_observation(SPEC)
    actions = policy.act(observation, np.array([5, 6, 7, 2**40]))
    assert actions.shape == (4, 2, 2)
    assert actions.dtype == np.float32
    np.testing.assert_array_equal(actions, policy.act(observation, np.array([5, 6, 7, 2**40])))
    others = policy.act(observation, np.array([5, 1, 2, 3]))
    np.testing.assert_allclose(others[0], actions[0], atol=1e-6)
    assert np.abs(others[1:] - actions[1:]).min() > 1e-6


def test_resumed_training_is_bit_identical(framework, tmp_path):
    straight, interrupted = policy_of(framework), policy_of(framework)
    data = batches(12)
    later = {name: _part(array, slice(7, None)) for name, array in data.items()}
    straight.update(data, AWR())
    interrupted.update({name: _part(array, slice(0, 7)) for name, array in data.items()}, AWR())
    interrupted.save(tmp_path)
    resumed = policy_of(framework, seed=0)
    resumed.restore(tmp_path)
    resumed.update(later, AWR())
    straight.save(tmp_path / "straight")
    resumed.save(tmp_path / "resumed")
    written = [(tmp_path / name / "policy.safetensors").read_bytes() for name in ("straight", "resumed")]
    assert written[0] == written[1]
    assert resumed.step == 12


def test_what_is_frozen_is_held_and_saved_once(tmp_path):
    def half(seed):
        torch.manual_seed(seed)
        module = GaussianTorch(SPEC)
        module.mean.bias.requires_grad_(False)
        return TorchPolicy(module, SPEC, TRAINING)

    policy, other = half(0), half(1)
    bias = policy._module.mean.bias
    before = bias.detach().clone()
    policy.update(batches(3), AWR())
    assert torch.equal(bias, before) and policy.module.mean.bias is bias
    assert not torch.equal(policy.module.mean.weight, policy._module.mean.weight)
    policy.save(tmp_path)
    assert {name for name in load_file(tmp_path / STATE_FILE) if "bias" in name} == {"params/mean.bias"}
    other.restore(tmp_path)
    data = {name: _part(array, slice(0, 1)) for name, array in batches(1).items()}
    row = {name: _part(array, 0) for name, array in data.items()}
    np.testing.assert_array_equal(other.log_prob(row), policy.log_prob(row))
    assert policy.update(data, AWR()) == other.update(data, AWR())


def _part(array, rows):
    return (
        {name: _part(part, rows) for name, part in array.items()} if isinstance(array, dict) else array[rows]
    )


def test_restore_refuses_what_is_not_its_own(framework, tmp_path):
    policy = policy_of(framework)
    with pytest.raises(UserError, match="no such file"):
        policy.restore(tmp_path)
    policy.save(tmp_path)
    wider = make_policy(MODULES[framework], replace(SPEC, proprio_dim=4), TRAINING)
    with pytest.raises(UserError, match="another model"):
        wider.restore(tmp_path)
    file = tmp_path / "policy.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        policy.restore(tmp_path)


def test_a_loss_that_is_not_finite_never_reaches_the_policy(framework):
    policy = policy_of(framework)
    policy.update(batches(3), BC())
    observation = example_observation(SPEC)
    data = batches(4, seed=2)
    data["action"][2] = np.nan
    with pytest.raises(UserError, match="not finite at update 5"):
        policy.update(data, BC())
    assert np.isfinite(policy.act(observation, np.arange(4))).all()
    assert np.isfinite(policy.update(batches(1), BC())["loss"])


def test_options_that_a_module_has_not_are_refused(framework):
    policy = policy_of(framework)
    with pytest.raises(UserError, match="no temperature"):
        policy.act(example_observation(SPEC), np.arange(4), Sampling(temperature=1.6))


def test_observations_of_the_wrong_kind_are_refused(framework):
    policy = policy_of(framework)
    with pytest.raises(UserError, match="no camera 'workspace'"):
        policy.act(example_observation(replace(SPEC, cameras=("front",))), np.arange(4))
    with pytest.raises(UserError, match=r"\(64, 64, 3\)"):
        policy.act(example_observation(replace(SPEC, image_size=64)), np.arange(4))
    with pytest.raises(UserError, match="proprio"):
        policy.act(example_observation(replace(SPEC, proprio_dim=9)), np.arange(4))


def test_ratios_follow_the_behavior(framework):
    """With the behaviour's own log_prob the ratio is 1, and the loss of GRPO minus the mean advantage."""
    policy = policy_of(framework)
    data = batches(1)
    batch = {name: _part(array, 0) for name, array in data.items()}
    batch["seed"] = np.arange(8, dtype=np.uint32)
    data["behavior_log_prob"] = policy.log_prob(batch)[None]
    data["seed"] = batch["seed"][None]
    metrics = policy.update(data, GRPO())
    assert metrics["loss"] == pytest.approx(-data["advantage"].mean(), abs=1e-5)


class TokensJax(GaussianJax):
    """A log-probability for each action."""

    def log_prob(self, observation, action):
        return -jnp.mean(jnp.square(action - self.means(observation)), axis=2)


class TokensTorch(GaussianTorch):
    def log_prob(self, observation, action):
        return -(action - self.means(observation)).square().mean(2)


class ChunksJax(GaussianJax):
    """One of a whole chunk, that is told what of it was executed; draws noise, so that rows go one by one."""

    def log_prob(self, observation, action, key, executed=None):
        errors = jnp.square(action - self.means(observation)) * (
            1 if executed is None else executed[..., None]
        )
        return -jnp.sum(errors, axis=(1, 2)) + 0 * jax.random.normal(key, (len(action),))


class ChunksTorch(GaussianTorch):
    def log_prob(self, observation, action, key, executed=None):
        errors = (action - self.means(observation)).square() * (
            1 if executed is None else executed[..., None]
        )
        return -errors.sum((1, 2)) + 0 * torch.randn(len(action), generator=key)


def online_batches(policy, executed):
    """One batch of eight chunks of two actions, with what the policy itself would say of them."""
    data = batches(1) | {"executed": np.tile(np.float32(executed), (1, 8, 1))}
    data["seed"] = np.arange(8, dtype=np.uint32)[None]
    batch = {name: _part(array, 0) for name, array in data.items()}
    return data | {"behavior_log_prob": policy.log_prob(batch)[None]}


@pytest.mark.parametrize("module", [TokensJax, TokensTorch, ChunksJax, ChunksTorch])
def test_actions_that_were_not_executed_teach_nothing(module):
    def trained(executed, second_action):
        policy = make_policy(module, SPEC, TRAINING)
        data = online_batches(policy, executed)
        data["action"][:, :, 1] += second_action
        data["behavior_log_prob"] = online_batches(policy, executed)["behavior_log_prob"] * 0 - 1
        metrics = policy.update(data, GRPO(clip_low=0.99, clip_high=100.0))
        return metrics["loss"], metrics["log_prob"], policy.act(example_observation(SPEC), np.arange(4))

    alone, other = trained([1, 0], 0.0), trained([1, 0], 5.0)
    for one, same in zip(alone, other, strict=True):
        np.testing.assert_array_equal(one, same)
    assert trained([1, 1], 0.0)[:2] != trained([1, 1], 5.0)[:2]


@pytest.mark.parametrize("module", [TokensJax, TokensTorch, ChunksJax, ChunksTorch])
def test_log_prob_of_executed_actions(module):
    """Of one number a chunk it is that of its executed actions; tokens are all given, and masked by the method."""
    policy = make_policy(module, SPEC)
    whole, first = (online_batches(policy, executed)["behavior_log_prob"][0] for executed in ([1, 1], [1, 0]))
    if whole.ndim == 2:
        assert whole.shape == (8, 2)
        np.testing.assert_array_equal(whole, first)
    else:
        assert (first > whole).all()


def test_a_policy_that_cannot_tell_executed_actions_is_refused(framework):
    with pytest.raises(UserError, match=r"log_prob gives one number a chunk.*executed=None") as refused:
        online_batches(policy_of(framework), [1, 0])
    assert "\n" not in str(refused.value)
    tokens = {"jax": TokensJax, "torch": TokensTorch}[framework]

    class Odd(tokens):
        def log_prob(self, observation, action):
            return super().log_prob(observation, action)[:, :1]

    with pytest.raises(UserError, match="1 tokens for 2 actions"):
        online_batches(make_policy(Odd, SPEC), [1, 0])
