"""What a frame of the published world model costs: tokens by hand, operations as its own program has them."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from envs.errors import UserError
from tests.value_model.imagination.random_weights import MICRO
from value_model.imagination.flops import frame_cost, pass_flops
from value_model.imagination.worldgym_config import WORLDGYM_PRESETS
from value_model.imagination.worldgym_dynamics import WorldGym
from value_model.video.flops import count_flops


def test_one_layer_by_hand() -> None:
    """Of one frame that sees three kept ones: products with a width or its multiple, and both attentions."""
    more = pass_flops(dataclasses.replace(MICRO, layers=3), 1, 3) - pass_flops(MICRO, 1, 3)
    width, hidden, tokens, frames = 32, 48, 6, 4
    each = tokens * (3 * width**2 + width**2 + 2 * width * hidden) + 6 * width**2
    space, time = 2 * tokens**2 * width, 2 * tokens * frames * width
    assert more == 2 * (2 * each + space + time)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_costs_are_those_of_a_step_and_of_the_uncached_path(guidance: float) -> None:
    config = dataclasses.replace(MICRO, guidance=guidance)
    graph, state = nnx.split(nnx.eval_shape(lambda: WorldGym(config, rngs=nnx.Rngs(0))))
    latents, actions = jnp.zeros((1, 3, *config.latent_shape)), jnp.zeros((1, 4, 10))
    keys = jax.random.split(jax.random.key(0), 1)
    words = jnp.zeros((1, 1), jnp.int32)

    def begin(state):
        return nnx.merge(graph, state).init(latents[:, 0], jnp.zeros((1, 0)), words)

    world = jax.eval_shape(begin, state)
    step = count_flops(
        lambda state, world: nnx.merge(graph, state).step(world, actions[:, :1], keys), state, world
    )
    # storing a frame needs no answer: the head and its modulation are counted though nothing reads them
    assert frame_cost(config, "kept").flops == step
    predict = count_flops(lambda state: nnx.merge(graph, state).predict(latents, actions, keys), state)
    assert frame_cost(config, "uncached").flops == predict


def test_ratios_of_the_published_size() -> None:
    """Token passes that the kept keys and values save over the released code: 2.6, 4 and 10 times."""
    for steps, ratio in ((10, 29 / 11), (5, 24 / 6), (1, 20 / 2)):
        config = dataclasses.replace(WORLDGYM_PRESETS["worldgym_bridge"], steps=steps)
        kept, refilled, uncached = (frame_cost(config, kept) for kept in ("kept", "refilled", "uncached"))
        assert kept.tokens == 256 * (steps + 1)
        assert refilled.tokens / kept.tokens == pytest.approx(ratio)
        assert refilled.flops / kept.flops == pytest.approx(ratio, rel=0.01)
        assert uncached.tokens == 256 * 20 * steps
    guided = dataclasses.replace(config, guidance=3.0)
    assert frame_cost(guided) == (2 * frame_cost(config).tokens, 2 * frame_cost(config).flops)
    with pytest.raises(UserError, match="unknown cache"):
        frame_cost(config, "cleared")
