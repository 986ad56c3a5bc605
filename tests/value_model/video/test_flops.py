"""Operations counted in traced programs, by hand."""

import jax
import jax.numpy as jnp
import pytest

from value_model.video.flops import count_flops


def test_products_by_hand() -> None:
    a, b = jnp.zeros((3, 5, 7)), jnp.zeros((3, 7, 11))
    assert count_flops(jnp.matmul, a, b) == 2 * 3 * 5 * 7 * 11
    image, kernel = jnp.zeros((2, 8, 8, 4)), jnp.zeros((3, 3, 4, 6))

    def conv(image: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            image, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert count_flops(conv, image, kernel) == 2 * (2 * 4 * 4 * 6) * (3 * 3 * 4)


def test_loops_branches_and_gradients_by_hand() -> None:
    weights, x = jnp.zeros((5, 8, 8)), jnp.zeros((2, 8))

    def layers(weights: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum(jax.lax.scan(lambda x, weight: (jnp.tanh(x @ weight), None), x, weights)[0])

    once = 5 * 2 * 2 * 8 * 8
    assert count_flops(layers, weights, x) == once
    assert count_flops(jax.grad(layers, argnums=(0, 1)), weights, x) == 3 * once

    def either(x: jax.Array) -> jax.Array:
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ weights[0] @ weights[1], lambda: x @ weights[0])

    assert count_flops(either, x) == 2 * 2 * 2 * 8 * 8
    with pytest.raises(ValueError, match="use scan"):
        count_flops(lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 1, lambda x: x @ weights[0], x), x)
