"""The network's information flow, the flow-matching loss and the clips it is trained on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.value_model.synthetic import MICRO
from value_model.critic.clips import clip_frames
from value_model.critic.config import ClipConfig, WVMConfig
from value_model.critic.network import Clip, WVMNetwork, estimate, noise_clip, wvm_loss

BATCH, HORIZON = 3, MICRO.clip.horizon


@pytest.fixture(scope="module")
def network() -> WVMNetwork:
    """Random weights; those that start at zero are moved, so that every path carries something."""
    made = WVMNetwork(MICRO, rngs=nnx.Rngs(0))
    graph, params = nnx.split(made)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.05 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return nnx.merge(graph, jax.tree.unflatten(tree, moved))


def _inputs(seed: int = 0) -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.key(seed), 3)
    shape = (BATCH, HORIZON, *MICRO.latent_shape)
    return {
        "current": jax.random.normal(keys[0], shape),
        "future": jax.random.normal(keys[1], shape),
        "values": jax.random.normal(keys[2], (BATCH, HORIZON + 1)),
        "value_tau": jnp.full((BATCH, HORIZON + 1), 0.5),
        "video_tau": jnp.full(BATCH, 0.5),
        "words": jnp.ones((BATCH, 16), jnp.int32),
    }


def test_video_never_sees_values(network: WVMNetwork) -> None:
    inputs = _inputs()
    _, plain = network(**inputs)
    _, other = network(**{**inputs, "values": inputs["values"] + 1})
    np.testing.assert_array_equal(plain, other)


def test_values_see_the_current_frames_but_not_the_future(network: WVMNetwork) -> None:
    inputs = _inputs()
    plain, _ = network(**inputs)
    future, _ = network(**{**inputs, "future": inputs["future"] + 1})
    current, _ = network(**{**inputs, "current": inputs["current"] + 1})
    without, nothing = network(**{**inputs, "future": None})
    np.testing.assert_allclose(plain, future, atol=1e-6)
    np.testing.assert_allclose(plain, without, atol=1e-5)
    assert nothing is None
    assert float(jnp.abs(plain - current).max()) > 1e-3


def test_values_see_each_other_and_the_words(network: WVMNetwork) -> None:
    inputs = _inputs()
    plain, _ = network(**inputs)
    last, _ = network(**{**inputs, "values": inputs["values"].at[:, -1].add(1)})
    words, _ = network(**{**inputs, "words": inputs["words"] + 1})
    assert float(jnp.abs(plain - last)[:, 0].max()) > 1e-4
    assert float(jnp.abs(plain - words).max()) > 1e-4


def test_the_mask_by_hand(network: WVMNetwork) -> None:
    mask = np.asarray(network.mask(2, 1))  # one token frame of each chunk
    spatial = (mask.shape[0] - HORIZON - 1) // 2
    current, future, value = slice(0, spatial), slice(spatial, 2 * spatial), slice(2 * spatial, None)
    assert mask[current, current].all() and not mask[current, future].any() and not mask[current, value].any()
    assert mask[future, : 2 * spatial].all() and not mask[future, value].any()
    assert mask[value, current].all() and not mask[value, future].any() and mask[value, value].all()


def test_full_attention_needs_the_future() -> None:
    network = WVMNetwork(dataclasses.replace(MICRO, causal_video=False), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="give the future latents"):
        network(**{**_inputs(), "future": None})


def test_loss_of_a_network_that_predicts_nothing() -> None:
    """Fresh output layers are zero: the losses are the mean squares of the velocities y − ε."""
    network = WVMNetwork(MICRO, rngs=nnx.Rngs(0))
    shape = (512, HORIZON, *MICRO.latent_shape)
    clip = Clip(
        jnp.zeros(shape), jnp.zeros(shape), jnp.ones((512, HORIZON + 1)), jnp.ones((512, 16), jnp.int32)
    )
    _, metrics = wvm_loss(network, clip, jax.random.key(0))
    assert float(metrics["value_loss"]) == pytest.approx(2.0, rel=0.1)  # y = 1: E (1 − ε)² = 2
    assert float(metrics["video_loss"]) == pytest.approx(1.0, rel=0.1)  # y = 0: E ε² = 1
    assert float(metrics["loss"]) == pytest.approx(
        float(metrics["value_loss"] + metrics["video_loss"]), rel=1e-5
    )


def _clip(batch: int, value: float) -> Clip:
    """A batch of random latents whose values are all the same."""
    shape = (2, batch, HORIZON, *MICRO.latent_shape)
    current, future = jax.random.normal(jax.random.key(5), shape)
    return Clip(current, future, jnp.full((batch, HORIZON + 1), value), jnp.ones((batch, 16), jnp.int32))


def test_noised_latents_and_their_velocities_meet_at_the_clean_ones() -> None:
    """y_τ + (1 − τ) (y − ε) = y, with one flow time a clip; the current latents stay as they are."""
    clip = _clip(64, 0.5)
    noised = noise_clip(MICRO, clip, jax.random.key(0))
    assert noised.future is not None and noised.video_target is not None
    left = (1 - noised.video_tau)[:, None, None, None, None]
    np.testing.assert_allclose(noised.future + left * noised.video_target, clip.future, atol=1e-5)
    assert float(jnp.std(clip.future - noised.video_target)) == pytest.approx(1.0, abs=0.05)  # ε
    np.testing.assert_array_equal(noised.current, clip.current)


def test_prefixes_are_clean_but_for_the_share_that_is_drawn() -> None:
    """True values ¾ enter as 2 · ¾ − 1 = ½, at flow time 1; a quarter of the prefixes is U[0, 1] instead."""
    config = dataclasses.replace(MICRO, clip=dataclasses.replace(MICRO.clip, prefix_random=0.25))
    noised = noise_clip(config, _clip(2000, 0.75), jax.random.key(0))
    prefix = np.asarray(noised.values[:, 0])
    drawn = prefix[prefix != 0.5]
    assert len(drawn) == pytest.approx(500, abs=80)
    assert drawn.mean() == pytest.approx(0.0, abs=0.1) and np.ptp(drawn) > 1.9
    assert (noised.value_tau[:, 0] == 1).all()


def test_the_weight_of_the_video_loss() -> None:
    """L = L_value + λ L_video; with `video_only` L_video alone; clips of unknown value have no L_value."""
    config = dataclasses.replace(MICRO, optim=dataclasses.replace(MICRO.optim, video_weight=0.25))
    network = WVMNetwork(config, rngs=nnx.Rngs(0))
    clip = _clip(8, 1.0)
    clip = clip._replace(values=clip.values.at[:4].set(jnp.nan))
    noised = noise_clip(config, clip, jax.random.key(1))
    loss, metrics = wvm_loss(network, clip, jax.random.key(1))
    known = np.asarray(noised.value_target)[4:]  # a fresh network answers 0
    assert float(metrics["value_loss"]) == pytest.approx(float((known**2).mean()), rel=1e-5)
    expected = float(metrics["value_loss"] + 0.25 * metrics["video_loss"])
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    alone, metrics = wvm_loss(network, clip, jax.random.key(1), video_only=True)
    assert float(alone) == float(metrics["video_loss"])


class _Echo(WVMNetwork):
    """Answers every value token with the token of the prefix frame."""

    def __call__(
        self,
        current: jax.Array,
        future: jax.Array | None,
        values: jax.Array,
        value_tau: jax.Array,
        video_tau: jax.Array,
        words: jax.Array,
    ) -> tuple[jax.Array, None]:
        return jnp.broadcast_to(values[:, :1, None], (*values.shape, 1)) * value_tau[:, :1, None], None


def test_the_prefix_at_inference() -> None:
    """The prefix p enters as the token 2 p − 1 at flow time 1; a velocity of as much, from noise 0, is the value p."""
    prefix = jnp.array([0.0, 0.2, 1.0])
    inputs = _inputs()
    noise = jnp.zeros((BATCH, HORIZON))
    network = _Echo(MICRO, rngs=nnx.Rngs(0))
    values = estimate(network, inputs["current"], prefix, inputs["words"], noise, None)
    np.testing.assert_allclose(values, np.tile(prefix[:, None], HORIZON), atol=1e-6)


def test_one_euler_step_from_noise() -> None:
    """A network that predicts nothing leaves the noise ε where it is: value (ε + 1) / 2, cut to [0, 1]."""
    network = WVMNetwork(MICRO, rngs=nnx.Rngs(0))
    noise = jnp.tile(jnp.array([0.0, 0.5, -3.0, 3.0]), (BATCH, 1))
    inputs = _inputs()
    values = estimate(network, inputs["current"], jnp.zeros(BATCH), inputs["words"], noise, None)
    np.testing.assert_allclose(values, np.tile([0.5, 0.75, 0.0, 1.0], (BATCH, 1)), atol=1e-6)


@pytest.mark.parametrize(("rewind", "plateau", "steps"), [(0.0, 0.0, 4), (1.0, 0.0, -4), (1.0, 1.0, 0)])
def test_clips_rise_fall_or_stand(rewind: float, plateau: float, steps: int) -> None:
    clip = ClipConfig(rewind=rewind, plateau=plateau)
    frames = np.asarray(clip_frames(jax.random.key(0), jnp.full(64, 200), clip, 4))
    assert frames.shape == (64, 2 * clip.horizon + 1)
    inside = ((frames > 0) & (frames < 199)).all(axis=1)
    assert inside.sum() > 32
    assert (np.diff(frames[inside], axis=1) == steps).all()


def test_shares_of_rewound_clips() -> None:
    frames = np.asarray(clip_frames(jax.random.key(0), jnp.full(4000, 500), ClipConfig(), 4))
    direction = np.sign(frames[:, 4] - frames[:, 3])
    assert np.mean(direction == 1) == pytest.approx(0.5, abs=0.04)
    assert np.mean(direction == 0) == pytest.approx(0.1, abs=0.03)
    assert np.mean(direction == -1) == pytest.approx(0.4, abs=0.04)


def test_presets_build() -> None:
    from value_model.critic.config import PRESETS, from_json, to_json

    for preset in PRESETS.values():
        assert from_json(to_json(preset)) == preset
    assert isinstance(PRESETS["tiny"], WVMConfig)
