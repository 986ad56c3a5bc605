"""What an author is told about a policy or a method that is broken."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest
import torch
from flax import nnx

from envs.errors import UserError
from policy_extraction.adapters.make import make_policy
from policy_extraction.check import check_method, check_policy
from tests.policy_extraction.examples import SPEC, GaussianJax, GaussianTorch


def told(module_class):
    with pytest.raises(UserError) as error:
        check_policy(make_policy(module_class, SPEC))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("module_class", [GaussianJax, GaussianTorch])
def test_sound_policies_pass(module_class):
    check_policy(make_policy(module_class, SPEC))


def test_missing_method():
    class Silent(nnx.Module):
        def sample(self, observation, key): ...

    assert "Silent has no method log_prob(observation, action) or log_prob(observation, action, key)" in told(
        Silent
    )


def test_wrong_arguments():
    class NoKey(GaussianTorch):
        def sample(self, observation): ...

    assert "NoKey.sample cannot be called as sample(observation, key)" in told(NoKey)

    class NoSpec(GaussianJax):
        def __init__(self, rngs): ...

    assert "__init__(spec, rngs)" in told(NoSpec)


def test_no_module():
    class Plain:
        def log_prob(self, observation, action): ...

        def sample(self, observation, key): ...

    assert "neither a flax nnx.Module nor a torch.nn.Module" in told(Plain)
    with pytest.raises(UserError, match="not a class"):
        make_policy(lambda spec: None, SPEC)


@pytest.mark.parametrize("parent", [GaussianJax, GaussianTorch])
def test_wrong_shape_of_actions(parent):
    class Flat(parent):
        def sample(self, observation, key):
            return super().sample(observation, key).reshape(1, -1)

    assert "sample gave shape (1, 4); it must be (1, 2, 2)" in told(Flat)


@pytest.mark.parametrize("parent", [GaussianJax, GaussianTorch])
def test_mean_over_the_batch(parent):
    class Mean(parent):
        def log_prob(self, observation, action):
            return super().log_prob(observation, action).mean()

    assert "log_prob gave shape () for 4 samples" in told(Mean)


@pytest.mark.parametrize("parent", [GaussianJax, GaussianTorch])
def test_samples_that_depend_on_each_other(parent):
    class Centred(parent):
        def log_prob(self, observation, action):
            whole = super().log_prob(observation, action)
            return whole * whole[0]

    assert "depends on the others in its batch" in told(Centred)


@pytest.mark.parametrize("parent", [GaussianJax, GaussianTorch])
def test_not_a_number(parent):
    class Nan(parent):
        def log_prob(self, observation, action):
            return super().log_prob(observation, action) * float("nan")

    assert "log_prob is not finite" in told(Nan)


def test_randomness_of_its_own():
    class Dice(GaussianTorch):
        def sample(self, observation, key):
            return self.means(observation) + torch.rand(())

    assert "other actions for the same seeds" in told(Dice)


def test_key_ignored():
    class Still(GaussianJax):
        def sample(self, observation, key):
            return self.means(observation)

    with pytest.warns(UserWarning, match="ignores its key"):
        check_policy(make_policy(Still, SPEC))


def test_no_gradient():
    class Detached(GaussianTorch):
        def log_prob(self, observation, action):
            return super().log_prob(observation, action).detach()

    assert "carries no gradient" in told(Detached)

    class Stopped(GaussianJax):
        def log_prob(self, observation, action):
            return jax.lax.stop_gradient(super().log_prob(observation, action))

    assert "no gradient" in told(Stopped)

    class Frozen(GaussianTorch):
        def __init__(self, spec):
            super().__init__(spec)
            self.requires_grad_(False)

    assert "nothing can be trained" in told(Frozen)


def test_hidden_state():
    class Dropping(GaussianJax):
        def __init__(self, spec, rngs):
            super().__init__(spec, rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

    assert "random state or batch statistics" in told(Dropping)


@dataclass(frozen=True)
class Sound:
    def select(self, dataset):
        return dataset

    def loss(self, xp, log_prob, batch):
        return -log_prob * batch["weight"]


def told_of_method(method):
    with pytest.raises(UserError) as error:
        check_method(method)
    return str(error.value)


def test_methods():
    check_method(Sound())

    @dataclass(frozen=True)
    class Mean(Sound):
        def loss(self, xp, log_prob, batch):
            return xp.mean(log_prob)

    assert "Mean.loss gave shape ()" in told_of_method(Mean())

    @dataclass(frozen=True)
    class Numpy(Sound):
        def loss(self, xp, log_prob, batch):
            return np.exp(np.asarray(log_prob))

    assert "Numpy.loss must use xp's functions alone" in told_of_method(Numpy())

    @dataclass(frozen=True)
    class Forgetful(Sound):
        def select(self, dataset):
            dataset.rows(dataset.advantage > 0)

    assert "must return a Dataset, not NoneType" in told_of_method(Forgetful())

    @dataclass(frozen=True)
    class Infinite(Sound):
        def loss(self, xp, log_prob, batch):
            return log_prob / xp.zeros(len(log_prob))

    with np.errstate(divide="ignore"):
        assert "not finite" in told_of_method(Infinite())

    @dataclass
    class Loose(Sound.__mro__[1]):
        select = Sound.select
        loss = Sound.loss

    assert "frozen dataclass" in told_of_method(Loose())

    class NoLoss:
        def select(self, dataset):
            return dataset

    assert "has no loss()" in told_of_method(NoLoss())
