"""What an author is told about a policy or a method that is broken."""

from dataclasses import dataclass, field

import jax
import numpy as np
import pytest
import torch
from flax import nnx

from envs.errors import UserError
from policy_extraction.adapters.make import make_policy
from policy_extraction.batch import make_batch
from policy_extraction.check import check_method, check_policy, check_samples
from policy_extraction.methods.awr import AWR
from policy_extraction.methods.grpo import GRPO
from policy_extraction.types import Rollouts
from policy_extraction.vla.encoder import VLAConfig
from policy_extraction.vla.model import new_vla, vla_policy
from tests.policy_extraction.examples import SPEC, GaussianJax, GaussianTorch, dataset


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


@dataclass(frozen=True)
class Reads(Sound):
    """Uses one part of the batch, without effect."""

    key: str = "action"
    inside: str = "words"

    def loss(self, xp, log_prob, batch):
        part = batch["observation"][self.inside] if self.key == "observation" else batch[self.key]
        return -log_prob + 0.0 * xp.mean(part.reshape(len(log_prob), -1) * 1.0, axis=1)


@dataclass(frozen=True)
class ReadsRollouts(Reads):
    online: Rollouts = field(default_factory=Rollouts)

    def loss(self, xp, log_prob, batch):
        return super().loss(xp, xp.mean(log_prob, axis=1) if log_prob.ndim == 2 else log_prob, batch)


OFFLINE = ("action", "observation", "advantage", "weight")
ONLINE = (*OFFLINE, "behavior_log_prob", "executed", "seed")


def test_a_method_may_read_all_that_the_contract_promises():
    policy = vla_policy(new_vla(VLAConfig(spec=SPEC, width=16, blocks=1), seed=0), "token")
    for key in OFFLINE:
        check_method(Reads(key=key))
        check_method(Reads(key=key), policy)
    for key in ONLINE:
        check_method(ReadsRollouts(key=key))
        check_method(ReadsRollouts(key=key), policy)


def test_a_method_that_reads_what_is_not_there_is_told_so():
    for key in ("behavior_log_prob", "executed", "seed"):
        told = told_of_method(Reads(key=key))
        assert told.startswith(
            f"Reads.loss reads batch[{key!r}], which there is not; there are observation, action"
        )
        assert "a field online: Rollouts" in told
    assert "reads batch['actions']" in told_of_method(ReadsRollouts(key="actions"))
    policy = vla_policy(new_vla(VLAConfig(spec=SPEC, width=16, blocks=1), seed=0))
    with pytest.raises(
        UserError, match=r"\['observation'\]\['proprio'\], .* features, words with this policy"
    ):
        check_method(Reads(key="observation", inside="proprio"), policy)


def test_a_method_that_cannot_weigh_an_unknown_advantage_is_told_so():
    @dataclass(frozen=True)
    class Plain(Sound):
        def loss(self, xp, log_prob, batch):
            return -xp.exp(batch["advantage"]) * log_prob

    samples = dataset([0.1, np.nan, 0.2])
    check_samples(Plain(), make_batch(samples.rows(np.array([0, 2])), {}))
    check_samples(AWR(), make_batch(samples, {}))
    with pytest.raises(
        UserError, match="not finite for 1 of 3 samples, of which 1 have an unknown advantage"
    ):
        check_samples(Plain(), make_batch(samples, {}))
    with pytest.raises(UserError, match="no sample is left"):
        check_samples(Plain(), make_batch(samples.rows(np.zeros(3, bool)), {}))


def test_a_loss_that_fails_is_one_line():
    @dataclass(frozen=True)
    class Blind(ReadsRollouts):
        loss = Reads.loss  # expects a number a chunk

    policy = vla_policy(new_vla(VLAConfig(spec=SPEC, width=16, blocks=1), seed=0), "token")
    check_method(Blind())
    with pytest.raises(
        UserError, match=r"Blind.loss failed on log_prob \[8, 4\] of 8 samples: ValueError: oper"
    ) as told:
        check_method(Blind(), policy)
    assert "\n" not in str(told.value)


def test_an_online_method_needs_a_policy_that_can_tell_executed_actions():
    with pytest.raises(UserError, match="one number a chunk"):
        check_method(GRPO(), make_policy(GaussianJax, SPEC))


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
