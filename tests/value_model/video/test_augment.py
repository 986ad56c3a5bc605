"""Views that are changed at random."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from value_model.video.augment import varied


def test_a_view_keeps_what_it_shows_and_its_weights_go_along():
    random = np.random.default_rng(0)
    view = random.integers(60, 196, (4, 4, 3)).astype(np.uint8)
    weight, count = random.uniform(size=(4, 4)).astype(np.float32), 400
    many = jnp.asarray(np.stack([view] * count))
    views, weights = varied(many, jnp.asarray(np.stack([weight] * count)), jax.random.key(0))
    assert weights is not None
    assert views.dtype == np.uint8 and views.shape == (count, 4, 4, 3)
    assert len({np.asarray(one).tobytes() for one in weights}) == 8  # four quarter turns, mirrored or not
    heaviest = np.sort(view[np.unravel_index(int(np.argmax(weight)), (4, 4))].astype(float))
    for seen, weighed in zip(np.asarray(views), np.asarray(weights), strict=True):
        assert sorted(weighed.ravel()) == sorted(weight.ravel())
        there = np.sort(seen[np.unravel_index(int(np.argmax(weighed)), (4, 4))].astype(float))
        assert np.all(
            np.abs(there - heaviest) <= 0.3 * heaviest + 31
        )  # contrast and brightness, colours in some order
    assert len({seen.tobytes() for seen in np.asarray(views)}) > 300
    again, _ = varied(many, None, jax.random.key(0))
    np.testing.assert_array_equal(again, views)
