"""Overlapping windows against a plain loop over one video, and independence of the other videos in the batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.value_model.synthetic import MICRO
from value_model.critic.config import InferenceConfig
from value_model.critic.network import WVMNetwork, estimate
from value_model.critic.windows import Sweeper, sweep, sweep_videos

HORIZON = MICRO.clip.horizon
WORDS = np.ones((1, 16), np.int32)
_one_window = nnx.jit(estimate)


@pytest.fixture(scope="module")
def network() -> WVMNetwork:
    """Random weights; those that start at zero are moved, so that values depend on frames and prefix."""
    graph, params = nnx.split(WVMNetwork(MICRO, rngs=nnx.Rngs(0)))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return nnx.merge(graph, jax.tree.unflatten(tree, moved))


def _latents(count: int) -> np.ndarray:
    return np.asarray(jax.random.normal(jax.random.key(2), (count, *MICRO.latent_shape)))


def _plainly(network: WVMNetwork, latents: np.ndarray) -> np.ndarray:
    """Frame t is the mean over windows k with k ≤ t < k + h; window k is told the mean so far at frame k − 1."""
    estimates: list[list[float]] = [[] for _ in latents]
    for start in range(len(latents) - HORIZON + 1):
        prefix = np.mean(estimates[start - 1]) if start else 0.0
        window = jnp.asarray(latents[None, start : start + HORIZON])
        given = jnp.full(1, prefix, jnp.float32)
        values = _one_window(network, window, given, jnp.asarray(WORDS), jnp.zeros((1, HORIZON)), None)
        for frame, value in zip(range(start, start + HORIZON), np.asarray(values)[0], strict=True):
            estimates[frame].append(float(value))
    return np.array([np.mean(some) for some in estimates], np.float32)


def test_a_sweep_is_the_plain_loop_over_each_video(network: WVMNetwork) -> None:
    """Three videos in lockstep, the shorter ones filled up with their last frame."""
    latents = _latents(11)
    rows = np.stack([np.minimum(np.arange(11), last) for last in (10, 5, 1)]).astype(np.int32)
    swept = nnx.jit(sweep)(network, latents, rows, np.array([11, 6, 2], np.int32), np.repeat(WORDS, 3, 0))
    plain = _plainly(network, latents)
    assert np.ptp(plain) > 0.01
    np.testing.assert_allclose(swept[0], plain, atol=1e-5)
    np.testing.assert_allclose(swept[1][:6], _plainly(network, latents[:6]), atol=1e-5)
    np.testing.assert_allclose(swept[2][:2], _plainly(network, latents[[0, 1, 1, 1]])[:2], atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_updated_network_is_seen(precision: str) -> None:
    """Written into in place, as a training of it or a file read into it does."""
    config = dataclasses.replace(MICRO, inference=InferenceConfig(precision=precision))
    network = WVMNetwork(config, rngs=nnx.Rngs(0))
    sweeper = Sweeper(network)
    video = [(_latents(5), WORDS[0])]
    [fresh] = sweep_videos(sweeper, video, 1)
    np.testing.assert_allclose(fresh, 0.5, atol=1e-2)  # it answers 0: the noise, 0, stays
    assert network.value.head.bias is not None
    network.value.head.bias[...] = jnp.full(1, 0.5)
    [moved] = sweep_videos(sweeper, video, 1)
    np.testing.assert_allclose(moved, 0.75, atol=1e-2)  # (0 + ½ + 1) / 2


def test_batches_of_other_sizes_share_a_program(network: WVMNetwork) -> None:
    """A judge labels other rollouts at every iteration; what they are filled up with changes no value."""
    sweeper, shapes = Sweeper(network), []
    compiled = sweeper._sweep

    def recorded(network, *batch):
        shapes.append([part.shape for part in batch])
        return compiled(network, *batch)

    sweeper._sweep = recorded
    videos = [(_latents(count), WORDS[0]) for count in (9, 12, 11, 10, 16, 9, 13, 12, 14, 10, 9)]
    many, few = sweep_videos(sweeper, videos, 1), sweep_videos(sweeper, videos[:9], 1)
    assert shapes[0] == shapes[1] and shapes[0][1] == (16, 16)
    for one, other in zip(few, many, strict=False):
        np.testing.assert_allclose(one, other, atol=1e-6)
