"""The tokenizer's shapes, inverses and statistics; frames as critics read them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from tests.value_model.synthetic import MICRO, slide
from value_model.video.dit import patchify, unpatchify
from value_model.video.frames import episode_frames, resize
from value_model.video.tokenizer import Tokenizer, depth_to_space, space_to_depth, tokenizer_loss
from value_model.video.tokenizer_training import sample_views


def test_space_to_depth_by_hand() -> None:
    x = jnp.arange(16).reshape(1, 4, 4, 1)
    assert space_to_depth(x, 2)[0, 0, 1].tolist() == [2, 3, 6, 7]
    np.testing.assert_array_equal(depth_to_space(space_to_depth(x, 2), 2), x)


def test_patches_by_hand() -> None:
    x = jnp.arange(64).reshape(1, 4, 4, 4, 1)
    tokens = patchify(x, (2, 2, 2))
    assert tokens.shape == (1, 2, 4, 8)
    assert tokens[0, 0, 1].tolist() == [2, 3, 6, 7, 18, 19, 22, 23]
    np.testing.assert_array_equal(unpatchify(tokens, (2, 2, 2), 4, 4), x)


def test_latents_are_normalised_by_the_running_statistics() -> None:
    tokenizer = Tokenizer(MICRO.tokenizer, rngs=nnx.Rngs(0))
    frames = jax.random.randint(jax.random.key(0), (32, 64, 64, 3), 0, 256).astype(jnp.uint8)
    raw = tokenizer.posterior(frames)[0]
    assert raw.shape == (32, 8, 8, 4)
    tokenizer.track(raw, momentum=0.0)
    latents = tokenizer.encode(frames)
    np.testing.assert_allclose(jnp.mean(latents, (0, 1, 2)), 0.0, atol=1e-3)
    np.testing.assert_allclose(jnp.std(latents, (0, 1, 2)), 1.0, atol=1e-2)
    np.testing.assert_allclose(tokenizer.decode(latents), tokenizer.reconstruct(raw), atol=1e-4)


def test_running_statistics_by_hand() -> None:
    tokenizer = Tokenizer(MICRO.tokenizer, rngs=nnx.Rngs(0))
    tokenizer.track(jnp.full((2, 1, 1, 4), 10.0), momentum=0.9)  # mean 0 → 1, variance 1 → .9
    np.testing.assert_allclose(tokenizer.mean[...], 1.0, rtol=1e-5)
    np.testing.assert_allclose(tokenizer.variance[...], 0.9, rtol=1e-5)


def test_the_loss_s_divergence_by_hand() -> None:
    """A posterior N(1, 2) of every latent: KL = ½ (1 + 2 − 1 − ln 2) = .6534 beside the error of the reconstruction."""
    tokenizer = Tokenizer(MICRO.tokenizer, rngs=nnx.Rngs(0))
    out = tokenizer.encode_out
    assert out.bias is not None
    out.kernel[...] = jnp.zeros_like(out.kernel[...])
    out.bias[...] = jnp.repeat(jnp.array([1.0, np.log(2.0)]), MICRO.tokenizer.channels)
    frames = jax.random.randint(jax.random.key(0), (2, 64, 64, 3), 0, 256).astype(jnp.uint8)
    weighed = [tokenizer_loss(tokenizer, frames, jax.random.key(1), weight)[0] for weight in (0.0, 10.0)]
    assert float(weighed[1] - weighed[0]) == pytest.approx(10 * 0.6534, abs=1e-3)
    assert float(weighed[0]) > 0


def test_pixels_that_moved_count_more_by_hand() -> None:
    """A band 15 brighter than in the first view: 4 × 15 of 255."""
    episode = slide(0, length=2)
    first = np.full_like(episode.images["workspace"][0], 60)
    later = first.copy()
    later[:8] = 75
    config = replace(MICRO, tokenizer=replace(MICRO.tokenizer, frames=2, motion_weight=4.0))
    views, moved = sample_views([replace(episode, images={"workspace": np.stack([first, later])})], config, 0)
    assert moved is not None and views.shape == (2, 64, 64, 3)
    order = np.argsort(views[:, 0, 0, 0])
    assert moved[order[0]].max() == 0
    assert (moved[order[1]][:8] == 60).all() and (moved[order[1]][8:] == 0).all()
    assert sample_views([episode], MICRO, 0).moved is None

    tokenizer = Tokenizer(MICRO.tokenizer, rngs=nnx.Rngs(0))
    error = [
        tokenizer_loss(tokenizer, jnp.asarray(views), jax.random.key(1), 0.0, weight)[0]
        for weight in (None, jnp.ones((2, 64, 64)), jnp.full((2, 64, 64), 3.0))
    ]
    assert float(error[0]) == float(error[1])
    assert float(error[2]) == pytest.approx(3 * float(error[0]), rel=1e-5)


def test_resizing_takes_the_mean_over_the_area() -> None:
    frame = np.zeros((1, 4, 4, 3), np.uint8)
    frame[0, :2, :2] = [[[10], [20]], [[30], [40]]]
    assert resize(frame, 2, 2)[0, :, :, 0].tolist() == [[25, 0], [0, 0]]


def test_cameras_side_by_side() -> None:
    episode = slide(0, length=3)
    both = replace(episode, images={**episode.images, "wrist": np.full((3, 128, 128, 3), 7, np.uint8)})
    frames = episode_frames(both, ("workspace", "wrist"), 64)
    assert frames.shape == (3, 64, 128, 3)
    np.testing.assert_array_equal(frames[:, :, :64], episode.images["workspace"])
    assert (frames[:, :, 64:] == 7).all()
    with pytest.raises(UserError, match="no camera 'wrist'; it has workspace"):
        episode_frames(episode, ("workspace", "wrist"), 64)
