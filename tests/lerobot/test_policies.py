"""LeRobot's own policies: their losses a sample at a time, trained by our methods, saved for LeRobot."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("lerobot")

import torch
from lerobot.policies.factory import get_policy_class, make_pre_post_processors

from envs.errors import UserError
from envs.types import Observation
from policy_extraction.adapters.lerobot_module import sample_losses
from policy_extraction.adapters.lerobot_policy import (
    CHECKPOINT,
    checkpoint_config,
    load_policy,
    new_config,
    spec_of,
)
from policy_extraction.check import check_policy, example_observation
from policy_extraction.methods.awr import AWR
from policy_extraction.methods.bc import BC
from policy_extraction.types import Training
from tests.lerobot.small import SPEC, TINY, batch_of, small_policy

SEEDS = np.arange(4)


@pytest.fixture(params=TINY)
def kind(request):
    return request.param


def processed(policy, padded=False):
    """The module, and a batch as LeRobot's own training step sees it."""
    module = policy.adapter._module
    given = batch_of(policy, example_observation(SPEC), 4)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in given["observation"].items()}
    batch = module._read(tensors) | {"action": torch.from_numpy(given["action"])}
    batch["action_is_pad"] = torch.zeros(4, SPEC.action_horizon, dtype=torch.bool)
    batch["action_is_pad"][:, 5:] = padded
    return module, module._preprocessor(batch)


@pytest.mark.parametrize("padded", [False, True])
def test_the_mean_over_samples_is_lerobots_own_loss(kind, padded, tmp_path):
    module, batch = processed(small_policy(kind, tmp_path), padded)
    torch.manual_seed(3)
    losses = sample_losses(module.policy)(dict(batch))
    torch.manual_seed(3)
    if module.policy.config.type == "diffusion":  # reads a history, of one moment
        batch["observation.state"] = batch["observation.state"][:, None]
    own, _ = module.policy.forward(dict(batch))
    assert losses.shape == (4,) and losses.std() > 0
    torch.testing.assert_close(losses.mean(), own)


def test_it_is_a_policy(kind, tmp_path):
    check_policy(small_policy(kind, tmp_path))


def test_it_learns_what_it_is_shown(kind, tmp_path):
    policy = small_policy(kind, tmp_path, learning_rate=3e-3, updates=10, ema=0.0)
    given = batch_of(policy, example_observation(SPEC), 4)
    batches = {
        name: {key: np.stack([a] * 10) for key, a in part.items()}
        if isinstance(part, dict)
        else np.stack([part] * 10)
        for name, part in given.items()
    }
    before = policy.log_prob(given).mean()
    policy.update(batches, BC())
    assert policy.log_prob(given).mean() > before + 0.05
    assert np.isfinite(policy.update(batches, AWR())["loss"])


def test_smolvla_reads_the_text_and_keeps_its_frozen_parts(tmp_path):
    policy = small_policy("smolvla", tmp_path, learning_rate=1e-2)
    observation = example_observation(SPEC)
    prompted = replace(observation, instruction=tuple(f"{text}. Good." for text in observation.instruction))
    one, other = (policy.act(seen, SEEDS) for seen in (observation, prompted))
    assert np.abs(one - other).max() > 1e-4
    module = policy.adapter._module.policy
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    frozen = {name for name, value in module.named_parameters() if not value.requires_grad}
    given = {name: _lead(part) for name, part in batch_of(policy, observation, 4).items()}
    policy.update(given, AWR())
    moved = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert frozen and moved and not frozen & moved
    averaged = dict(policy.adapter.module.policy.named_parameters())
    assert all((averaged[name] is value) == (name in frozen) for name, value in module.named_parameters())


def test_numbers_are_normalised_by_the_datas_statistics(tmp_path):
    _, batch = processed(small_policy("act", tmp_path))
    raw = example_observation(SPEC).proprio
    expected = (raw - [5, 6, 7]) / (np.array([2, 3, 4]) + 1e-8)
    np.testing.assert_allclose(batch["observation.state"].numpy(), expected, rtol=1e-5)


def test_lerobot_loads_what_is_saved(kind, tmp_path):
    policy = small_policy(kind, tmp_path, learning_rate=1e-2)
    observation = example_observation(SPEC)
    given = batch_of(policy, observation, 4)
    policy.update({name: _lead(part) for name, part in given.items()}, BC())
    policy.save(tmp_path / "saved")
    folder = tmp_path / "saved" / CHECKPOINT
    theirs = get_policy_class(kind).from_pretrained(folder)
    pre, post = make_pre_post_processors(theirs.config, str(folder))
    seen = {
        f"observation.images.{name}": torch.from_numpy(observation.images[name][:1]).permute(0, 3, 1, 2) / 255
        for name in SPEC.cameras
    }
    seen |= {"observation.state": torch.from_numpy(observation.proprio[:1]), "task": ["pick up the cube"]}
    action = post(theirs.select_action(pre(seen)))
    assert action.shape == (1, 2)
    if kind == "act":  # draws nothing
        np.testing.assert_allclose(action[0], policy.act(observation, SEEDS)[0, 0], atol=1e-5)
    again = load_policy(checkpoint_config(folder), folder, None, {}, Training(), 1)
    np.testing.assert_allclose(again.act(observation, SEEDS), policy.act(observation, SEEDS), atol=1e-5)


def _lead(part):
    return {name: array[None] for name, array in part.items()} if isinstance(part, dict) else part[None]


def test_training_resumes(kind, tmp_path):
    policy = small_policy(kind, tmp_path)
    given = {name: _lead(part) for name, part in batch_of(policy, example_observation(SPEC), 4).items()}
    policy.update(given, BC())
    policy.save(tmp_path / "half")
    resumed = small_policy(kind, tmp_path)
    resumed.update(given, AWR())  # elsewhere, for what is restored to show
    resumed.restore(tmp_path / "half")
    assert policy.update(given, BC()) == resumed.update(given, BC())


def test_cameras_may_have_other_names(tmp_path):
    policy = small_policy("act", tmp_path)
    policy.save(tmp_path)
    config = checkpoint_config(tmp_path / CHECKPOINT)
    assert spec_of(config, {"front": "workspace"}).cameras == ("front", "wrist")
    with pytest.raises(UserError, match="no camera 'top'; it has workspace, wrist"):
        spec_of(config, {"front": "top"})
    moved = load_policy(config, tmp_path / CHECKPOINT, None, {"front": "workspace"}, Training(), 0)
    seen = example_observation(SPEC)
    images = {"front": seen.images["workspace"], "wrist": seen.images["wrist"]}
    there = moved.act(Observation(images, seen.proprio, seen.instruction), SEEDS)
    np.testing.assert_allclose(there, policy.act(seen, SEEDS), atol=1e-5)


def test_what_cannot_be_used_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"unknown policy\.type 'akt'; did you mean act"):
        new_config("akt", SPEC, {})
    with pytest.raises(UserError, match=r"does not fit act: .*dim_modle"):
        new_config("act", SPEC, {"dim_modle": 3})
    with pytest.raises(UserError, match="reads 2 moments"):
        spec_of(new_config("diffusion", SPEC, {**TINY["diffusion"], "n_obs_steps": 2}), {})
    with pytest.raises(UserError, match="no LeRobot checkpoint"):
        checkpoint_config(tmp_path)
    (tmp_path / "config.json").write_text('{"type": "nonsense"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="is of no policy of this LeRobot"):
        checkpoint_config(tmp_path)


def test_a_type_without_a_loss_a_sample_is_refused():
    class Other(torch.nn.Module):
        class config:
            type = "vqbet"

        def forward(self, batch):
            return batch["action"].mean(), {}

    with pytest.raises(UserError, match=r"policy\.type=vqbet gives no loss for each sample"):
        sample_losses(Other())
