"""Both ways of speaking of values, with numbers worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from value_model.critic.heads import FlowHead, HistogramHead


def test_a_noised_value_and_its_velocity_meet_at_the_clean_one() -> None:
    """y_τ = τ y + (1 − τ) ε and the velocity y − ε: y_τ + (1 − τ) (y − ε) = y = 2 v − 1."""
    values = jnp.tile(jnp.array([0.0, 0.25, 1.0]), (64, 1))
    drawn = FlowHead().draw(values, jax.random.key(0))
    reached = drawn.tokens + (1 - drawn.tau) * drawn.target[..., 0]
    np.testing.assert_allclose(reached, np.tile([-1.0, -0.5, 1.0], (64, 1)), atol=1e-6)
    noise = 2 * values - 1 - drawn.target[..., 0]
    assert float(jnp.std(noise)) == pytest.approx(1.0, abs=0.15)
    assert 0 <= float(drawn.tau.min()) < 0.1 and 0.9 < float(drawn.tau.max()) <= 1
    np.testing.assert_array_equal(drawn.tau[:, 0], drawn.tau[:, 2])  # one flow time a clip


def test_the_flow_loss_by_hand() -> None:
    loss = FlowHead().loss(jnp.array([[[1.0], [3.0]]]), jnp.array([[[2.0], [-1.0]]]))
    np.testing.assert_allclose(loss, [[1.0, 16.0]])


def test_euler_s_method_by_hand() -> None:
    """Velocities τ in two steps: y = 0 + 0 / 2 + ½ / 2 = ¼, value (¼ + 1) / 2 = ⅝; the steps go from noise to value."""
    values = FlowHead().values(lambda y, tau: tau[..., None], jnp.zeros((1, 1)), 2)
    assert float(values[0, 0]) == pytest.approx(0.625)


def test_histograms_by_hand() -> None:
    """Two bins with centres ¼ and ¾; logits (0, ln 3) are the histogram (¼, ¾)."""
    head, logits = HistogramHead(bins=2, sigma=1.0), jnp.array([[[0.0, math.log(3.0)]]])
    assert head.outputs == 2
    loss = head.loss(logits, jnp.array([[[0.0, 1.0]]]))
    assert float(loss[0, 0]) == pytest.approx(-math.log(0.75))  # .288
    values = head.values(lambda tokens, tau: logits, jnp.ones((1, 1)), 1)
    assert float(values[0, 0]) == pytest.approx(0.25 * 0.25 + 0.75 * 0.75)


def test_the_smoothed_target_by_hand() -> None:
    """Two bins, σ one bin, value ¾: edges lie −1.5, −.5 and .5 σ from it; Φ = .0668, .3085, .6915."""
    drawn = HistogramHead(bins=2, sigma=1.0).draw(jnp.array([[0.75, 0.25]]), jax.random.key(0))
    low, high = 0.3085 - 0.0668, 0.6915 - 0.3085
    expected = np.array([low, high]) / (low + high)
    np.testing.assert_allclose(drawn.target[0], [expected, expected[::-1]], atol=1e-3)
    assert not drawn.tokens.any() and not drawn.tau.any()  # the tokens are told nothing
