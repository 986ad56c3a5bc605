"""The built-in VLA: its heads, its files, its frozen encoder, its pretraining."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from envs.types import Episode
from policy_extraction.acting import ActingPolicy
from policy_extraction.augment import shifted
from policy_extraction.check import check_policy, example_observation
from policy_extraction.methods.advantage_conditioned import AdvantageConditioned
from policy_extraction.methods.awr import AWR
from policy_extraction.methods.bc import BC
from policy_extraction.types import Sampling, Training, frozen_eyes
from policy_extraction.vla.encoder import VLAConfig
from policy_extraction.vla.model import load_vla, new_vla, random_shift, save_vla, vla_policy
from policy_extraction.vla.pretrain import Pretraining, gather_frames, pretrain
from tests.policy_extraction.examples import SPEC

CONFIG = VLAConfig(spec=replace(SPEC, action_horizon=2), width=64, state_dim=4, bins=5)
FAST = Training(learning_rate=5e-3, warmup=10, updates=200, ema=0.97)


def observed(features, words=0, **more):
    count = len(features)
    wide = np.zeros((count, CONFIG.feature_dim), np.float32)
    wide[:, 0] = features
    return {"features": wide, "words": np.full((count, 16), words, np.int32), **more}


def toy_batches(updates, batch=64):
    """Two modes, +.5 (advantage .3) and −.5 (advantage −.3), equally often."""
    rng = np.random.default_rng(0)
    sign = rng.choice([-1, 1], (updates, batch)).astype(np.float32)
    action = np.broadcast_to(0.5 * sign[..., None, None], (updates, batch, 2, 2)).astype(np.float32)
    flat = observed(np.zeros(updates * batch))
    observation = {name: array.reshape(updates, batch, *array.shape[1:]) for name, array in flat.items()}
    weight = np.ones((updates, batch), np.float32)
    return {"observation": observation, "action": action, "advantage": 0.3 * sign, "weight": weight}


def drawn(policy, count=200, **more):
    inputs = observed(np.zeros(count), **more)
    keys = jax.random.split(jax.random.key(0), count)
    one = lambda row, key: policy.module.sample(jax.tree.map(lambda x: x[None], row), key)[0]  # noqa: E731
    return np.asarray(jax.vmap(one)(inputs, keys))


@pytest.mark.parametrize("head", ["flow", "token"])
def test_heads_keep_both_modes_and_awr_shifts_to_the_better(head):
    cloned = vla_policy(new_vla(CONFIG, 0), head, training=FAST)
    weighted = vla_policy(new_vla(CONFIG, 0), head, training=FAST)
    data = toy_batches(200)
    cloned.update(data, BC())
    weighted.update(data, AWR(temperature=4.0, max_weight=20.0))
    first = drawn(cloned)[:, 0, 0]
    assert np.abs(np.abs(first) - 0.5).mean() < 0.1
    assert 0.35 < (first > 0).mean() < 0.65
    # weights exp(±1.2): the better mode takes 1 / (1 + exp(−2.4)) = .92 of the mass
    assert 0.82 < (drawn(weighted)[:, 0, 0] > 0).mean() < 0.99


def test_token_likelihood_is_exact():
    head = new_vla(CONFIG, 0).heads["token"]
    inputs = observed(np.array([0.0, 1.0]), temperature=np.full(2, 2.0, np.float32))
    values = jnp.linspace(-1, 1, 5)
    table = np.stack([head.log_prob(inputs, jnp.full((2, 2, 2), value)) for value in values])
    assert table.shape == (5, 2, 4)
    assert np.exp(table).sum(0) == pytest.approx(np.ones((2, 4)), abs=1e-5)
    plain = np.stack(
        [head.log_prob(observed(np.array([0.0, 1.0])), jnp.full((2, 2, 2), value)) for value in values]
    )
    # a temperature of 2 halves differences of logits
    np.testing.assert_allclose(table - table[:1], (plain - plain[:1]) / 2, atol=1e-5)
    # −.3 is nearest to the second of −1, −.5, 0, .5, 1
    np.testing.assert_allclose(head.log_prob(inputs, jnp.full((2, 2, 2), -0.3)), table[1], atol=1e-6)


def test_flow_log_prob_is_minus_the_flow_matching_loss():
    head = new_vla(CONFIG, 0).heads["flow"]
    key, action = jax.random.key(3), jnp.full((1, 2, 2), 0.3)
    noise_key, time_key = jax.random.split(key)
    noise, time = jax.random.normal(noise_key, action.shape), jax.random.uniform(time_key, (1, 1, 1))
    inputs = observed(np.zeros(1))
    condition = head.trunk(inputs["features"], inputs["words"])
    predicted = head.velocity(condition, time * action + (1 - time) * noise, time[:, 0, 0])
    loss = jnp.mean((predicted - (action - noise)) ** 2)
    assert head.log_prob(inputs, action, key)[0] == pytest.approx(-float(loss), rel=1e-6)
    assert head.log_prob(inputs, action, key) == pytest.approx(head.log_prob(inputs, action, key))


@pytest.mark.parametrize(("head", "train_encoder"), [("flow", False), ("token", True)])
def test_it_is_a_sound_policy(head, train_encoder):
    check_policy(vla_policy(new_vla(CONFIG, 0), head, train_encoder))


def test_the_flow_loss_of_executed_actions_alone():
    """Over all actions it is the mean of each action's own."""
    spec = replace(SPEC, action_horizon=3)
    head = new_vla(VLAConfig(spec=spec, width=16, blocks=1), seed=0).heads["flow"]
    features = np.random.default_rng(0).normal(size=(2, head.config.feature_dim)).astype(np.float32)
    observation = observed([0, 0]) | {"features": features}
    action, key = jnp.full((2, 3, 2), 0.5), jax.random.key(1)
    whole = head.log_prob(observation, action, key)
    each = [head.log_prob(observation, action, key, jnp.eye(3)[jnp.array([h, h])]) for h in range(3)]
    assert np.ptp(each, axis=0).min() > 1e-3
    np.testing.assert_allclose(head.log_prob(observation, action, key, jnp.ones((2, 3))), whole, rtol=1e-5)
    np.testing.assert_allclose(np.mean(each, axis=0), whole, rtol=1e-5)
    two = head.log_prob(observation, action, key, jnp.array([[1.0, 1, 0], [0, 1, 1]]))
    np.testing.assert_allclose(two, [(each[0][0] + each[1][0]) / 2, (each[1][1] + each[2][1]) / 2], rtol=1e-5)


def test_unknown_head_is_refused():
    with pytest.raises(UserError, match="no head 'diffusion'"):
        vla_policy(new_vla(CONFIG, 0), "diffusion")


def test_files(tmp_path):
    vla = new_vla(CONFIG, 3)
    save_vla(vla, tmp_path)
    again = load_vla(tmp_path)
    assert again.config == CONFIG
    save_vla(new_vla(CONFIG, 4), tmp_path / "other")
    load_vla(tmp_path / "other")  # is not read into the one before
    save_vla(again, tmp_path / "again")
    first, second = ((folder / "model.safetensors").read_bytes() for folder in (tmp_path, tmp_path / "again"))
    assert first == second
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not a VLA's config"):
        load_vla(tmp_path)
    with pytest.raises(UserError, match="not a VLA's config"):
        load_vla(tmp_path / "nowhere")
    save_vla(new_vla(replace(CONFIG, width=32), 0), tmp_path)
    (tmp_path / "config.json").write_text((tmp_path / "again" / "config.json").read_text())
    with pytest.raises(UserError, match="another model"):
        load_vla(tmp_path)


def test_the_published_size():
    leaves = jax.tree.leaves(nnx.state(new_vla(VLAConfig(), 0)))
    assert 2 * sum(leaf.size for leaf in leaves) < 4e6  # bytes in half precision


def test_an_unknown_word_changes_nothing_at_first():
    vla = new_vla(CONFIG, 0)
    policy = vla_policy(vla)
    observation = example_observation(CONFIG.spec)
    other = replace(observation, instruction=("fold the shirt",) * 4)
    seeds = np.arange(4)
    np.testing.assert_array_equal(policy.act(observation, seeds), policy.act(other, seeds))


def test_features_do_not_depend_on_the_company_of_a_row():
    policy = vla_policy(new_vla(CONFIG, 0))
    many = example_observation(CONFIG.spec, rows=70)
    features = policy.preprocess(many)["features"]
    assert features.shape == (70, CONFIG.feature_dim)
    few = policy.preprocess(many[np.array([66, 3])])["features"]
    np.testing.assert_allclose(few, features[[66, 3]], atol=1e-4)


def test_guidance_extrapolates_from_the_plain_prompt():
    policy = vla_policy(new_vla(CONFIG, 0))
    observation = example_observation(CONFIG.spec)
    seeds = np.arange(4)
    method = AdvantageConditioned(guidance=2.0)
    # nothing has been learnt about the suffix yet, so it guides nowhere
    guided = ActingPolicy(policy, method).act(observation, seeds)
    np.testing.assert_allclose(guided, ActingPolicy(policy, BC()).act(observation, seeds), atol=1e-5)
    token = vla_policy(new_vla(CONFIG, 0), "token")
    with pytest.raises(UserError, match="no guidance"):
        ActingPolicy(token, method).act(observation, seeds)
    with pytest.raises(UserError, match="no temperature"):
        policy.act(observation, seeds, Sampling(temperature=2.0))
    hot, cold, colder = (
        ActingPolicy(token, BC(), temperature).act(observation, seeds) for temperature in (9.0, 1e-4, 1e-5)
    )
    np.testing.assert_array_equal(cold, colder)
    inputs = ActingPolicy(token, BC(), 9.0).preprocess(observation)
    assert inputs["temperature"].tolist() == [9] * 4
    batch = {"observation": inputs, "action": np.zeros((4, 2, 2), np.float32)}
    assert token.log_prob(batch) == pytest.approx(np.full((4, 4), np.log(1 / 5)), abs=0.2)
    assert not np.array_equal(hot, cold)


def test_shifts():
    observation = example_observation(CONFIG.spec)
    image = observation.images["workspace"]
    moved = shifted(observation, seed=1, pixels=2).images["workspace"]
    assert moved.shape == image.shape
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    windows = [padded[0, r : r + 32, c : c + 32] for r in range(5) for c in range(5)]
    assert any(np.array_equal(moved[0], window) for window in windows)
    np.testing.assert_array_equal(shifted(observation, seed=1, pixels=2).images["workspace"], moved)
    np.testing.assert_array_equal(shifted(observation, seed=1, pixels=0).images["workspace"], image)
    inside = random_shift({"images.workspace": image, "proprio": observation.proprio}, jax.random.key(0), 2)
    assert any(np.array_equal(inside["images.workspace"][0], window) for window in windows)
    assert inside["proprio"] is observation.proprio


def spots(episodes=6, frames=40):
    """Episodes in which a bright square lies where the state says, and the action is its place."""
    rng = np.random.default_rng(0)
    for number in range(episodes):
        place = rng.integers(4, 28, (frames, 2))
        image = np.full((frames, 32, 32, 3), 60, np.uint8)
        for frame, (row, column) in enumerate(place):
            image[frame, row - 3 : row + 3, column - 3 : column + 3] = (250, 40, 40)
        state = np.concatenate([place / 32, np.zeros((frames, 2))], axis=1).astype(np.float32)
        yield Episode(
            images={"workspace": image},
            proprio=rng.normal(size=(frames, 3)).astype(np.float32),
            actions=(place / 16 - 1).astype(np.float32),
            rewards=np.zeros(frames, np.float32),
            environment_state=state,
            success=True,
            task="spot",
            instruction="touch the spot",
            robot="Panda",
            seed=number,
            fps=20.0,
        )


def test_pretraining_learns_to_see_and_resumes(tmp_path):
    data = gather_frames(spots(), CONFIG.spec, {"touch the spot": ("reach the red spot",)}, seed=0)
    assert len(data) == 240
    assert len(np.unique(data.observation["words"], axis=0)) == 2
    training = Training(learning_rate=5e-3, warmup=10, updates=120, ema=0.95)
    setting = Pretraining(training, batch=32, shift=0)
    seen = []
    vla = pretrain(data, CONFIG, setting, progress=lambda step, metrics: seen.append(metrics["loss"]))
    assert seen[-1] < 0.7 * seen[0]
    inputs = {name: array[:50] for name, array in data.observation.items()}
    predicted = vla.encoder(inputs)[:, -4:-2]
    truth = vla.encoder.state(inputs["state"])[:, :2]
    assert np.corrcoef(np.ravel(predicted), np.ravel(truth))[0, 1] > 0.8
    short = Pretraining(replace(training, updates=24), batch=32, shift=0)
    straight = pretrain(data, CONFIG, short, folder=tmp_path / "straight")

    class Killed(Exception): ...

    def kill(step, metrics):
        if step == 16:
            raise Killed

    with pytest.raises(Killed):
        pretrain(data, CONFIG, short, folder=tmp_path / "resumed", progress=kill)
    resumed = pretrain(data, CONFIG, short, folder=tmp_path / "resumed")
    for ours, theirs in zip(
        *(jax.tree.leaves(nnx.state(model)) for model in (straight, resumed)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_pretraining_needs_the_state():
    episode = replace(next(iter(spots())), environment_state=np.zeros((40, 0), np.float32))
    with pytest.raises(UserError, match="environment_state"):
        gather_frames([episode], CONFIG.spec, {}, seed=0)
    with pytest.raises(UserError, match="no episode"):
        gather_frames([], CONFIG.spec, {}, seed=0)


def test_what_frozen_eyes_saw_stands_for_pictures():
    """Features from `seen` are those of the pictures, of which none is needed then; a trained encoder has no such eyes."""
    base = new_vla(CONFIG, 0)
    policy = vla_policy(base, "token")
    eyes, observation = frozen_eyes(policy), example_observation(CONFIG.spec, 9)
    told = replace(observation, images={}, seen={eyes.digest: eyes.look(observation.images)})
    assert told.seen[eyes.digest].shape == (9, eyes.size)
    for sampled in (policy.preprocess, lambda seen: {"act": policy.act(seen, np.arange(9))}):
        for name, values in sampled(observation).items():
            np.testing.assert_allclose(sampled(told)[name], values, atol=1e-5)
    assert frozen_eyes(vla_policy(base, "flow")).digest == eyes.digest
    other = frozen_eyes(vla_policy(new_vla(CONFIG, 1), "token"))
    assert other.digest != eyes.digest
    moved = replace(observation, seen={other.digest: np.zeros((9, other.size), np.float32)})
    np.testing.assert_array_equal(
        policy.preprocess(moved)["features"], policy.preprocess(observation)["features"]
    )
    assert frozen_eyes(vla_policy(base, "token", train_encoder=True)) is None
    assert not shifted(told, 0).seen
