"""The tests' own way of drawing random numbers gives what JAX gives, up to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

DRAWS = {
    "normal": jax.random.normal,
    "uniform": lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, minval=-2.0, maxval=3.0),
    "truncated": lambda key, shape, dtype: jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype),
}


@pytest.mark.parametrize("name", sorted(DRAWS))
@pytest.mark.parametrize("shape", [(), (3,), (7, 13, 5), (2**22 + 1,)])
def test_a_shared_draw_is_the_draw(name, shape):
    key = jax.random.fold_in(jax.random.key(3), 5)
    shared = DRAWS[name](key, shape, jnp.float32)
    traced = jax.jit(lambda key: DRAWS[name](key, shape, jnp.float32))(key)
    assert shared.dtype == traced.dtype and shared.shape == shape
    np.testing.assert_array_max_ulp(np.asarray(shared), np.asarray(traced), maxulp=4)


def test_bounds_of_many_values_and_a_known_key_within_a_trace_are_left_alone():
    key, low = jax.random.key(0), jnp.arange(3.0)
    drawn = jax.random.uniform(key, (2, 3), minval=low, maxval=low + 1)
    assert (drawn >= low).all() and (drawn < low + 1).all()
    inside = jax.jit(lambda scale: scale * jax.random.normal(key, (4,)))(2.0)
    np.testing.assert_array_equal(inside, 2 * jax.random.normal(key, (4,)))


def test_a_network_begins_with_the_same_weights():
    eager = nnx.Linear(5, 7, rngs=nnx.Rngs(1)).kernel.get_value()
    traced = nnx.jit(lambda: nnx.Linear(5, 7, rngs=nnx.Rngs(1)))().kernel.get_value()
    np.testing.assert_allclose(eager, traced, rtol=1e-6)
