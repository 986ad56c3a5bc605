"""The gradient of a critic's value through a world model: against finite differences, and against what is acted."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from envs.text import word_ids
from envs.types import Observation
from experiments.choices.imagination import ImaginationChoice
from experiments.lab.artifacts import Artifacts
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.settings.config import BatchConfig, TaskConfig
from experiments.stages.follow import Following, follow, require_pathwise
from experiments.stages.foresee import foresee
from policy_extraction.adapters.make import make_policy
from policy_extraction.adapters.pathwise import TracedPolicy
from policy_extraction.methods.value_gradient import ValueGradient
from policy_extraction.types import Foresight, Training
from policy_extraction.vla.encoder import VLAConfig
from policy_extraction.vla.heads import TokenHead
from policy_extraction.vla.model import new_vla, vla_policy
from tests.experiments.imagined import moved, random_critic, random_world
from tests.policy_extraction.examples import SPEC, GaussianJax, GaussianTorch
from value_model.imagination.environment import ImaginedEnvs

TINY = VLAConfig(first_channels=4, second_channels=4, width=16, blocks=1, euler_steps=2, step_width=8)
KEYS = jax.random.split(jax.random.key(5), 3)


@pytest.fixture(scope="module")
def world():
    return random_world()


@pytest.fixture(scope="module")
def critic():
    return random_critic()


@pytest.fixture(scope="module")
def base():
    return moved(new_vla(TINY, 0), 6, 0.1)


def begun(world, policy):
    """A batch of all starts."""
    bank = world.starts
    shown = np.split(world.decode(bank.latents.astype(np.float32)), 2, axis=2)
    images = dict(zip(world.config.cameras, shown, strict=True))
    words = np.stack([word_ids(text) for text in bank.instruction])
    start = {"latents": bank.latents.astype(np.float32), "proprio": bank.proprio, "words": words}
    inputs = policy.preprocess(Observation(images, bank.proprio, bank.instruction))
    return jax.tree.map(jnp.asarray, {"start": start, "observation": inputs})


def gain_of(objective, module, policy, batch):
    """The function from the module's weights to the mean gain, and the weights."""
    graph, params, rest = nnx.split(module, nnx.Param, ...)

    @jax.jit
    def gain(params):
        traced = TracedPolicy(nnx.merge(graph, params, rest), policy.spec, policy._reads)
        return jnp.mean(objective.function(traced, objective.parts, batch, KEYS))

    return gain, params


def test_the_gradient_is_that_of_finite_differences(world, critic, base):
    """Through two decisions of eyes and flow head, its Euler steps, dynamics, pictures and the critic."""
    policy = vla_policy(base, "flow", train_encoder=True)
    objective = foresee(world, critic, 8, 4)
    gain, params = gain_of(objective, policy.module, policy, begun(world, policy))
    gradient = jax.grad(gain)(params)
    norm = float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))))
    assert norm > 1e-3

    def along(step):
        return float(gain(jax.tree.map(lambda value, slope: value + step * slope / norm, params, gradient)))

    step = 0.02
    assert (along(step) - along(-step)) / (2 * step) == pytest.approx(norm, rel=0.05)


def test_the_gain_is_what_the_critic_says_of_the_policy_that_acts(world, critic, base):
    """The same chunks in `env=imagination`, and the critic's values of its pictures."""
    policy = vla_policy(base, "flow")
    batch, objective = begun(world, policy), foresee(world, critic, 8, 8)
    traced = TracedPolicy(policy.module, policy.spec, policy._reads)
    found = np.asarray(objective.function(traced, objective.parts, batch, KEYS))
    chunks = traced.draw(batch["observation"], jax.vmap(jax.random.fold_in, (0, None))(KEYS, 0))
    spec, count = world.spec(world.starts.instruction[0], 8), len(world.starts)
    envs = ImaginedEnvs(world, spec, world.starts, count, execute=8)
    seeds = [next(seed for seed in range(99) if world.starts.draw(seed) == row) for row in range(count)]
    first, _ = envs.reset(seed=seeds, options={"film": np.full(count, 4)})
    *_, info = envs.step(np.asarray(chunks)[:, :8])

    def side_by_side(images, moment):
        return np.concatenate([images[name][moment] for name in critic.cameras], axis=-2)

    for row in range(count):
        film = side_by_side(info["film"]["images"], (row, slice(0, 2)))
        video = np.concatenate([side_by_side(first["images"], row)[None], film])
        values = critic.values(video, spec.instruction, 5.0)
        assert found[row] == pytest.approx(values[-1] - values[0], abs=2e-3)
    assert np.abs(found).max() > 0.01


def test_tokens_are_drawn_as_ever_and_their_gradient_is_the_mean_s(base):
    head = base.heads["token"]
    assert isinstance(head, TokenHead)
    features = jax.random.normal(jax.random.key(0), (3, TINY.feature_dim))
    seen = {"features": features, "words": np.zeros((3, TINY.spec.max_words), np.int32)}
    np.testing.assert_allclose(head.pathwise(seen, KEYS[0]), head.sample(seen, KEYS[0]), atol=1e-6)
    graph, params, rest = nnx.split(head, nnx.Param, ...)
    values = np.linspace(-1, 1, TINY.bins)

    def drawn(params):
        return jnp.sum(nnx.merge(graph, params, rest).pathwise(seen, KEYS[0]) ** 2)

    def mean_alone(params, at):
        probability = jax.nn.softmax(nnx.merge(graph, params, rest).logits(seen), axis=-1)
        return jnp.sum(2 * at * (probability * values).sum(-1))

    ours = jax.grad(drawn)(params)
    expected = jax.grad(mean_alone)(params, head.sample(seen, KEYS[0]))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def plan(folder, **changes):
    method = ValueGradient(anchor=0.01, foresight=Foresight(updates=12, starts=24))
    env = ImaginationChoice(path=str(folder), starts="first", horizon=8)
    training = Training(learning_rate=1e-2, warmup=0, final_fraction=1.0, ema=0.0, **changes)
    return Following(
        env, TaskConfig("lift"), method, method.foresight, training, BatchConfig(checkpoint_seconds=0), 0
    )


def followed(folder, plan, base, critic, tracker):
    with Simulators() as simulators:
        context = Context(Artifacts(folder), tracker, simulators)
        make = lambda: vla_policy(base, "token", training=plan.training)  # noqa: E731
        artifact = follow(context, plan, {}, make, lambda: critic)
    weights = (artifact.folder / "policy" / "policy.safetensors").read_bytes()
    return weights, json.loads((artifact.folder / "history.json").read_text())


def test_it_gains_and_a_killed_training_ends_as_one_that_was_not(world, critic, base, tmp_path, capsys):
    world.save(tmp_path / "world")
    chosen = plan(tmp_path / "world")
    weights, history = followed(tmp_path / "straight", chosen, base, critic, Tracker(None))
    assert [entry["updates"] for entry in history] == [10, 12]
    assert history[1]["gain"] > history[0]["gain"] and history[0]["grad_norm"] > 0
    assert "s a step" in capsys.readouterr().err

    class Killed(Tracker):
        def log(self, metrics):
            if "train/gain" in metrics and self.told:
                raise KeyboardInterrupt
            self.told = True

    killed = Killed(None)
    killed.told = False
    with pytest.raises(KeyboardInterrupt):
        followed(tmp_path / "killed", chosen, base, critic, killed)
    again, resumed = followed(tmp_path / "killed", chosen, base, critic, Tracker(None))
    assert again == weights and [entry["gain"] for entry in resumed] == [entry["gain"] for entry in history]
    wild = replace(chosen, training=replace(chosen.training, learning_rate=float("inf")))
    with pytest.raises(UserError, match="not finite at update 1; the policy stays as it was at update 0"):
        followed(tmp_path / "wild", wild, base, critic, Tracker(None))


def test_what_cannot_be_differentiated_is_refused_in_one_line(world, critic):
    for module in (GaussianTorch, GaussianJax):
        with pytest.raises(UserError, match="cannot be differentiated by JAX") as caught:
            require_pathwise(make_policy(module, SPEC))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="looks 8 control steps ahead, executes 6"):
        foresee(world, critic, 8, 6)

    class Blind:
        def label(self, episodes):
            return iter(())

    with pytest.raises(UserError, match="this critic cannot be differentiated"):
        foresee(world, Blind(), 8, 4)
