"""The published world model with tiny random weights: who sees whom, the kept keys and values, sampling, the loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from envs.errors import UserError
from tests.value_model.imagination.random_weights import MICRO, random_worldgym
from value_model.imagination.bridge import published_actions
from value_model.imagination.diffusion import ddim_levels, ddim_shares, ddim_step, mix, signal, velocity
from value_model.imagination.ring import empty_ring, filled, remember
from value_model.imagination.rotary import spatial_angles
from value_model.imagination.worldgym_config import WORLDGYM_PRESETS, WorldGymConfig
from value_model.imagination.worldgym_dynamics import WorldGym, null_actions, worldgym_loss
from value_model.video.precision import compute_copy

WORDS = jnp.zeros((3, 16), jnp.int32)


def clip(frames: int, config: WorldGymConfig = MICRO, batch: int = 3) -> tuple[jax.Array, jax.Array]:
    """Latents [B, T, h, w, C] and actions that led to them [B, T, A]; none to the first."""
    keys = jax.random.split(jax.random.key(7))
    latents = jax.random.normal(keys[0], (batch, frames, *config.latent_shape))
    actions = (
        jax.random.uniform(keys[1], (batch, frames, config.action_dim), minval=-1.0).at[..., -1].set(0.0)
    )
    return latents, actions.at[:, 0].set(0.0)


begin = nnx.jit(lambda model, *inputs: model.init(*inputs))
advance = nnx.jit(lambda model, *inputs: model.step(*inputs))
predict = nnx.jit(lambda model, *inputs: model.predict(*inputs))


def roll_out(model: WorldGym, first: jax.Array, actions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Frames [B, 1 + n, h, w, C] kept and uncached, each from the frames that the kept path gave."""
    batch, steps = actions.shape[0], actions.shape[1] - 1
    state = begin(model, first, jnp.zeros((batch, 0)), WORDS[:batch])
    kept, again = [first], [first]
    for number in range(1, steps + 1):
        keys = jax.random.split(jax.random.key(number), batch)
        newest = slice(max(0, number - model.config.window + 1), None)
        past, told = jnp.stack(kept, 1)[:, newest], actions[:, : number + 1][:, newest]
        again.append(predict(model, past, told, keys))
        state = advance(model, state, actions[:, number, None], keys)
        kept.append(state.latents)
    return jnp.stack(kept, 1), jnp.stack(again, 1)


def test_the_schedule_by_hand() -> None:
    """ᾱ of four levels: σ(3 − 6 t / 4) between its ends, from the second point on."""
    points = [1 / (1 + np.exp(-3 + 1.5 * t)) for t in range(5)]
    curve = [(p - points[4]) / (points[0] - points[4]) for p in points]
    np.testing.assert_allclose(signal(4)[:3], curve[1:4], rtol=1e-6)
    assert signal(4)[3] == pytest.approx(curve[3] * 1e-3)
    assert signal(1000)[14] == pytest.approx(0.99532, abs=1e-5)


def test_steps_of_ddim_by_hand() -> None:
    assert ddim_levels(1000, 10).tolist() == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99, -1]
    assert ddim_levels(1000, 3).tolist() == [999, 665, 332, -1] and ddim_levels(1000, 1).tolist() == [999, -1]
    assert ddim_shares(1000, 2).tolist() == [signal(1000)[999], signal(1000)[499], 1.0]
    x, noise = jnp.array(2.0), jnp.array(-1.0)
    assert float(mix(x, noise, jnp.array(0.64))) == pytest.approx(0.8 * 2 - 0.6)
    assert float(velocity(x, noise, jnp.array(0.64))) == pytest.approx(-0.8 - 0.6 * 2)
    shares = jnp.array(0.64), jnp.array(0.36)
    true = ddim_step(mix(x, noise, shares[0]), velocity(x, noise, shares[0]), *shares)
    assert float(true) == pytest.approx(0.6 * 2 - 0.8)  # with the true velocity DDIM stays on the true path


def test_the_ring_overwrites_the_oldest_row_by_row() -> None:
    ring = empty_ring(2, 1, 1, 3, 1, jnp.dtype("float32"))
    ring = ring._replace(frames=jnp.array([0, 2]))
    for number in range(1, 3):
        new = jnp.full((2, 1, 1, 1, 1), float(number))
        ring = remember(ring, new, -new)
    assert ring.keys[:, 0, 0, :, 0].tolist() == [[1, 2, 0], [2, 0, 1]]
    assert ring.values[0, 0, 0, :, 0].tolist() == [-1, -2, 0]
    assert filled(ring).tolist() == [[True, True, False], [True, True, True]]


def test_rotary_positions_by_hand() -> None:
    """Two frequencies an axis: 1 and 1/100 a token; or π and 128 π from −1 to 1."""
    standard = spatial_angles(2, 3, 8, "standard")
    np.testing.assert_allclose(standard[5], [1, 0.01, 2, 0.02], rtol=1e-6)
    pixel = spatial_angles(2, 3, 8, "pixel")
    np.testing.assert_allclose(pixel[4], [np.pi, 128 * np.pi, 0, 0], rtol=1e-6)


def test_the_published_size() -> None:
    for config in WORLDGYM_PRESETS.values():
        model = nnx.eval_shape(lambda config=config: WorldGym(config, rngs=nnx.Rngs(0)))
        assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model))) == 607_928_384


def test_a_frame_sees_none_that_follows() -> None:
    model, (latents, actions) = random_worldgym(), clip(5)
    levels = jnp.array([[14, 400, 0, 999, 30]] * 3)
    before = model.network(latents, levels, actions)
    after = model.network(latents.at[:, 3].add(1.0), levels.at[:, 3].set(1), actions.at[:, 3].add(1.0))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert float(jnp.abs(before[:, 3:] - after[:, 3:]).min(axis=(2, 3, 4)).min()) > 0


@pytest.mark.parametrize(("guidance", "rotary"), [(1.0, "pixel"), (3.0, "standard")])
def test_kept_is_uncached_while_the_window_grows(guidance: float, rotary: str) -> None:
    config = dataclasses.replace(MICRO, guidance=guidance, rotary=rotary)
    latents, actions = clip(4)
    kept, again = roll_out(random_worldgym(config), latents[:, 0], actions)
    np.testing.assert_allclose(kept, again, atol=2e-5)


def test_once_the_window_slides_only_deeper_layers_hold_traces() -> None:
    """With one layer the kept path stays exact: its keys know their own frame alone. With two it differs, but little."""
    latents, actions = clip(10)
    shallow = random_worldgym(dataclasses.replace(MICRO, layers=1))
    kept, again = roll_out(shallow, latents[:, 0], actions)
    np.testing.assert_allclose(kept, again, atol=2e-5)
    kept, again = roll_out(random_worldgym(), latents[:, 0], actions)
    np.testing.assert_allclose(kept[:, :4], again[:, :4], atol=2e-5)
    difference = jnp.sqrt(jnp.mean((kept - again)[:, 4:] ** 2) / jnp.mean(kept[:, 4:] ** 2))
    assert 1e-3 < float(difference) < 0.1  # .051


def test_rows_are_worlds_of_their_own_and_equal_keys_give_equal_noise() -> None:
    """A row that begins anew beside others gives what it gives alone; and a rollout is one scan."""
    model, (latents, actions) = random_worldgym(), clip(4)

    def first(rows: slice):
        shown = latents[rows, 0]
        return begin(model, shown, jnp.zeros((len(shown), 2)), WORDS[rows])

    old = advance(model, first(slice(0, 3)), actions[:, 1, None], jax.random.split(jax.random.key(0), 3))
    fresh = first(slice(0, 1))
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b[1:]]), fresh, old)
    key = jax.random.split(jax.random.key(1), 3)
    together = advance(model, joined, actions[:, 2, None], key)
    alone = advance(model, fresh, actions[:1, 2, None], key[:1])
    np.testing.assert_allclose(together.latents[0], alone.latents[0], atol=1e-5)
    assert together.proprio.shape == (3, 2)

    same = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], 3, axis=0), old)
    keys = jnp.stack([jax.random.key(5), jax.random.key(5), jax.random.key(6)])
    drawn = advance(model, same, jnp.repeat(actions[:1, 2, None], 3, axis=0), keys).latents
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert float(jnp.abs(drawn[0] - drawn[2]).max()) > 0.1

    def one(state, inputs):
        state = model.step(state, *inputs)
        return state, state.latents

    keys = jax.random.split(jax.random.key(2), (2, 3))
    told = jnp.moveaxis(actions[:, 2:4, None], 1, 0)
    _, frames = jax.jit(lambda state: jax.lax.scan(one, state, (told, keys)))(old)
    assert frames.shape == (2, 3, *MICRO.latent_shape) and bool(jnp.isfinite(frames).all())


def test_guidance_moves_away_from_the_null_action() -> None:
    """v = v_null + w (v_action − v_null): with one step the clean frame is linear in w; under the null action it is one."""
    latents, actions = clip(2)
    keys = jax.random.split(jax.random.key(3), 3)
    frames = {}
    for weight in (1.0, 2.0, 3.0):
        model = random_worldgym(dataclasses.replace(MICRO, guidance=weight, steps=1))
        frames[weight] = predict(model, latents[:, :1], actions, keys)
    np.testing.assert_allclose(frames[3.0] - frames[2.0], frames[2.0] - frames[1.0], atol=1e-4)
    assert float(jnp.abs(frames[2.0] - frames[1.0]).max()) > 1e-3
    assert null_actions(actions)[0, 0].tolist() == [0.0] * 9 + [1.0]


def test_gradients_run_through_a_rollout() -> None:
    model, (latents, actions) = random_worldgym(), clip(3)
    state = begin(model, latents[:, 0], jnp.zeros((3, 0)), WORDS)
    keys = jax.random.split(jax.random.key(4), (2, 3))

    direction = jax.random.normal(jax.random.key(5), latents[:, 0].shape)

    @jax.jit
    def seen(shift: jax.Array) -> jax.Array:
        now = model.step(state, actions[:, 1, None] + shift, keys[0])
        return jnp.vdot(model.step(now, actions[:, 2, None], keys[1]).latents, direction)

    slope = jax.grad(seen)(jnp.float32(0.0))
    measured = (seen(jnp.float32(0.02)) - seen(jnp.float32(-0.02))) / 0.04
    assert float(slope) == pytest.approx(float(measured), rel=0.03) and abs(float(slope)) > 0.01


def test_the_loss_of_a_network_that_answers_nothing_and_with_recomputation() -> None:
    """A new network answers zero: the loss is E v² = 1 for latents of variance 1. Remat changes no gradient."""
    latents, actions = clip(8, batch=24)
    told = actions[:, 1:, None]
    words, key = jnp.zeros((24, 16), jnp.int32), jax.random.key(0)
    new = WorldGym(MICRO, rngs=nnx.Rngs(0))
    value, _ = worldgym_loss(new, latents, jnp.zeros((24, 8, 0)), told, words, key)
    assert float(value) == pytest.approx(1, abs=0.03)
    gradients = []
    for remat in (False, True):
        model = random_worldgym(dataclasses.replace(MICRO, remat=remat))
        graph, state = nnx.split(model)

        @jax.jit
        def loss(state, graph=graph):
            return worldgym_loss(nnx.merge(graph, state), latents, jnp.zeros((24, 8, 0)), told, words, key)[0]

        gradients.append(jax.grad(loss)(state))
    for one, other in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_few_updates_lower_the_loss() -> None:
    latents, actions = clip(4, batch=8)
    model = WorldGym(MICRO, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)
    optimizer = optax.adam(3e-3)

    @jax.jit
    def update(state, moments, key):
        def loss(state):
            model = nnx.merge(graph, state)
            words = jnp.zeros((8, 16), jnp.int32)
            return worldgym_loss(
                model, 0.1 * latents, jnp.zeros((8, 4, 0)), actions[:, 1:, None], words, key
            )[0]

        value, gradient = jax.value_and_grad(loss)(state)
        step, moments = optimizer.update(gradient, moments, state)
        return optax.apply_updates(state, step), moments, value

    moments, losses = optimizer.init(state), []
    for number in range(60):
        state, moments, value = update(state, moments, jax.random.key(number))
        losses.append(float(value))
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_bfloat16_stays_near() -> None:
    """Rings and products in bfloat16, latents and noise levels in float32."""
    latents, actions = clip(3)
    model = random_worldgym()
    graph, state = nnx.split(model)
    low = nnx.merge(graph, compute_copy(state, "bfloat16"))
    assert low.network.time.hidden.kernel.dtype == jnp.float32
    keys = jax.random.split(jax.random.key(3), 3)
    both = []
    for one in (model, low):
        state = begin(one, latents[:, 0], jnp.zeros((3, 0)), WORDS)
        state = advance(one, state, actions[:, 1, None], keys)
        both.append(state.latents)
        assert state.latents.dtype == jnp.float32 and state.ring.keys.dtype == one.network.act.kernel.dtype
    error = float(jnp.sqrt(jnp.mean((both[1] - both[0]) ** 2) / jnp.mean(both[0] ** 2)))
    assert 1e-4 < error < 0.05


def test_actions_of_bridge_by_hand() -> None:
    action = np.array([0.02, -0.05, 0.1, 0.125, -0.5, 0.0, 1.0], np.float32)
    expected = [0.7, -1.74, 1.74, 0.7, -1.4, 0.0, 1.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(published_actions(action), expected, rtol=1e-5)
    assert published_actions(np.zeros((2, 3, 7))).shape == (2, 3, 10)
    for wrong, message in ((np.zeros(10), "7 numbers"), (np.full(7, np.nan), "not finite")):
        with pytest.raises(UserError, match=message):
            published_actions(wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch": 3}, "multiple of patch=3"),
        ({"heads": 3}, "heads=3"),
        ({"window": 1}, "window=1"),
        ({"steps": 0}, "steps=0"),
        ({"context_level": 1000}, "context_level"),
        ({"action_dropout": 1.5}, "action_dropout"),
        ({"rotary": "pixels"}, "did you mean pixel"),
        ({"precision": "float16"}, "precision"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(MICRO, **settings)
