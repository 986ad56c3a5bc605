"""Flow matching with tiny weights: what is kept equals the whole clip, and on a blob that is pushed it hears the actions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from envs.errors import UserError
from tests.value_model.imagination.random_weights import stir
from value_model.imagination.config import HandConfig, ImaginationConfig
from value_model.imagination.flow import Flow
from value_model.imagination.flow_config import FlowConfig
from value_model.imagination.flow_training import flow_loss, hand_loss
from value_model.imagination.guidance import guided
from value_model.video.config import TokenizerConfig, VideoConfig

CONFIG = ImaginationConfig(
    cameras=("workspace",),
    stride=2,
    action_dim=2,
    proprio_dim=2,
    tokenizer=TokenizerConfig(image_size=64, channels=2),
    video=VideoConfig(
        layers=2, width=48, heads=2, feedforward=96, patch=(1, 2, 2), text_width=16, time_width=16
    ),
    hand=HandConfig(width=32, layers=2),
)
FLOW = FlowConfig(window=4, steps=2)
WORDS = jnp.array([[5, 9, 0]])


def pushed(key: jax.Array, batch: int, frames: int) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """A blob whose place the actions add to: latents, places as proprioception, actions and words."""
    keys = jax.random.split(key)
    start = jax.random.uniform(keys[0], (batch, 1, 2), minval=2.0, maxval=5.0)
    actions = jax.random.uniform(keys[1], (batch, frames - 1, CONFIG.stride, 2), minval=-1.0)
    places = jnp.concatenate([start, start + jnp.cumsum(actions.sum(2), 1)], 1)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(8), jnp.arange(8), indexing="ij"), -1)
    away = jnp.sum((grid - places[:, :, None, None]) ** 2, -1)
    blob = 3.0 * jnp.exp(-away / 3.0)
    return jnp.stack([blob, -blob], -1), places, actions, jnp.repeat(WORDS, batch, 0)


def random_flow(flow: FlowConfig = FLOW, config: ImaginationConfig = CONFIG) -> Flow:
    model = Flow(config, flow, rngs=nnx.Rngs(0))
    stir(model)
    return model


begin = nnx.jit(lambda model, *inputs: model.init(*inputs))
advance = nnx.jit(lambda model, *inputs: model.step(*inputs))
loss_of = nnx.jit(flow_loss)


def roll_out(model: Flow, first: jax.Array, proprio: jax.Array, actions: jax.Array) -> list:
    """States, the first one included."""
    states = [begin(model, first, proprio, jnp.repeat(WORDS, len(first), 0))]
    for number in range(actions.shape[1]):
        keys = jax.random.split(jax.random.key(number), len(first))
        states.append(advance(model, states[-1], actions[:, number], keys))
    return states


def test_what_is_kept_equals_the_whole_clip_also_once_the_window_slides() -> None:
    """One step from noise by the whole clip, all frames so far as context, against `step`; window 4 of 7 frames."""
    flow = dataclasses.replace(FLOW, steps=1)
    model = random_flow(flow)
    latents, places, actions, words = pushed(jax.random.key(0), 2, 7)
    states = roll_out(model, latents[:, 0], places[:, 0], actions)
    frames = jnp.stack([state.latents for state in states], 1)
    felt = jnp.stack([state.proprio for state in states], 1)
    noise = jax.vmap(lambda key: jax.random.normal(key, CONFIG.latent_shape))(
        jax.random.split(jax.random.key(5), 2)
    )
    known = 1 - flow.context_noise
    x = jnp.concatenate([known * frames[:, :6], noise[:, None]], 1)
    tau = jnp.full((2, 7), known).at[:, 6].set(0.0)
    previous = jnp.concatenate([frames[:, :1], frames[:, :6]], 1)
    told = jnp.concatenate(
        [model.condition(felt[:, :1], None), model.condition(felt[:, :6], actions)], axis=1
    )
    clean = model.clean(x, tau, previous, told, words)
    np.testing.assert_allclose(frames[:, 6], clean[:, 6], atol=2e-5)
    assert float(jnp.abs(frames[:, 6] - frames[:, 5]).mean()) > 0.01


def test_euler_and_guidance_by_hand() -> None:
    """Towards a fixed prediction 4: half of the way, then all of it. Guided: 1 + 3 (2 − 1)."""
    model = Flow(CONFIG, FLOW, rngs=nnx.Rngs(0))
    seen = []

    def predict(x: jax.Array, tau: jax.Array) -> jax.Array:
        seen.append(x)
        return jnp.full_like(x, 4.0)

    noise = jnp.zeros((1, *CONFIG.latent_shape))
    with jax.disable_jit():
        assert float(model._denoise(noise, predict).max()) == 4.0
    assert [float(x.max()) for x in seen] == [0.0, 2.0]
    assert float(guided([jnp.array(2.0), jnp.array(1.0)], 3.0)) == 4.0


def test_a_frame_sees_none_that_follows_nor_what_left_the_window() -> None:
    model = random_flow()
    latents, places, _, words = pushed(jax.random.key(0), 2, 6)
    told = model.condition(places[:, :1].repeat(6, 1), jnp.zeros((2, 6, 2, 2)))
    tau = jnp.full((2, 6), 0.5)
    run = nnx.jit(lambda model, *inputs: model.clean(*inputs))
    before = run(model, latents, tau, latents, told, words)
    after = run(model, latents.at[:, 4].add(1.0), tau, latents, told, words)
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert float(jnp.abs(before - after)[:, 4:].max(axis=(2, 3, 4)).min()) > 1e-3


def test_guidance_keeps_what_is_seen_without_actions_too() -> None:
    """The null branch goes its own way; at weight 1 there is none. Rows draw from their own keys."""
    latents, places, actions, _ = pushed(jax.random.key(1), 3, 3)
    same = [jnp.repeat(part[:1], 3, 0) for part in (latents[:, 0], places[:, 0], actions)]
    model = random_flow(dataclasses.replace(FLOW, guidance=2.0))
    state = begin(model, same[0], same[1], jnp.repeat(WORDS, 3, 0))
    keys = jnp.stack([jax.random.key(5), jax.random.key(5), jax.random.key(6)])
    state = advance(model, state, same[2][:, 0], keys)
    np.testing.assert_array_equal(state.latents[0], state.latents[1])
    assert float(jnp.abs(state.latents[0] - state.latents[2]).max()) > 1e-3
    assert state.null_ring is not None and state.ring.frames.tolist() == [2, 2, 2]
    assert float(jnp.abs(state.ring.keys - state.null_ring.keys)[..., 1, :].max()) > 1e-3
    assert begin(random_flow(), same[0], same[1], jnp.repeat(WORDS, 3, 0)).null_ring is None


def test_the_loss_by_hand_of_a_network_that_changes_nothing() -> None:
    """A new network predicts the previous frame: the latents' loss is the change's mean square, without noise on it."""
    latents, places, actions, words = pushed(jax.random.key(2), 4, 3)
    model = Flow(CONFIG, dataclasses.replace(FLOW, context_noise=0.0), rngs=nnx.Rngs(0))
    _, parts = loss_of(model, latents, places, actions, words, jax.random.key(0))
    assert float(parts["latent"]) == pytest.approx(float(jnp.mean(jnp.diff(latents, axis=1) ** 2)), rel=1e-5)
    still = [places[:, :1], places[:, 1:]]
    expected = jnp.mean((still[1] - still[0]) ** 2)
    assert float(parts["hand"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(hand_loss(model.hand, places, actions)) == pytest.approx(float(expected), rel=1e-5)


@pytest.fixture(scope="module")
def trained() -> Flow:
    """After a few hundred updates on pushed blobs."""
    model = Flow(CONFIG, FLOW, rngs=nnx.Rngs(0))
    _, places, _, _ = pushed(jax.random.key(9), 256, 2)
    model.hand.fit(places.reshape(-1, 2), places[:, 1] - places[:, 0])
    graph, params, fixed = nnx.split(model, nnx.Param, ...)
    optimizer = optax.adam(optax.cosine_decay_schedule(4e-3, 240))

    @jax.jit
    def update(params, moments, number):
        keys = jax.random.split(jax.random.key(number))

        def loss(params):
            return flow_loss(nnx.merge(graph, params, fixed), *pushed(keys[0], 32, 4), keys[1])[0]

        step, moments = optimizer.update(jax.grad(loss)(params), moments, params)
        return optax.apply_updates(params, step), moments

    moments = optimizer.init(params)
    for number in range(240):
        params, moments = update(params, moments, number)
    return nnx.merge(graph, params, fixed)


def test_it_hears_the_actions_after_a_few_hundred_updates(trained: Flow) -> None:
    """Error of two world steps far below that of copying and of another blob's actions; gradients tell where to push."""
    latents, places, actions, _ = pushed(jax.random.key(10_000), 64, 3)
    true, wrong = actions, jnp.roll(actions, 1, axis=0)
    errors = {}
    for name, told in (("true", true), ("wrong", wrong)):
        last = roll_out(trained, latents[:, 0], places[:, 0], told)[-1]
        errors[name] = float(jnp.mean((last.latents - latents[:, 2]) ** 2))
        errors[f"{name} hand"] = float(jnp.abs(last.proprio - places[:, 2]).mean())
    errors["copy"] = float(jnp.mean((latents[:, 0] - latents[:, 2]) ** 2))
    assert errors["true"] < 0.35 * errors["copy"] and errors["true"] < 0.35 * errors["wrong"], errors
    assert errors["true hand"] < 0.3 and errors["wrong hand"] > 0.8, errors

    state = begin(trained, latents[:, 0], places[:, 0], jnp.repeat(WORDS, 64, 0))
    keys = jax.random.split(jax.random.key(0), 64)

    @jax.jit
    def error(shift: jax.Array) -> jax.Array:
        return jnp.mean((trained.step(state, actions[:, 0] + shift, keys).latents - latents[:, 1]) ** 2)

    shift = jnp.float32(0.4)
    measured = (error(shift + 0.02) - error(shift - 0.02)) / 0.04
    assert float(jax.grad(error)(shift)) == pytest.approx(float(measured), rel=0.05) and float(measured) > 0


@pytest.mark.parametrize(
    "settings", [{"window": 1}, {"steps": 0}, {"context_noise": 1.0}, {"noisier": 0.0}], ids=str
)
def test_settings_that_cannot_be(settings: dict) -> None:
    with pytest.raises(UserError, match=r"flow\."):
        dataclasses.replace(FLOW, **settings)
