"""Operations counted in traced programs: by hand, and against XLA's own count."""

import dataclasses
import functools

import jax
import pytest
from flax import nnx

from tests.value_model.synthetic import MICRO
from value_model.critic.config import PRESETS, WVMConfig
from value_model.critic.flops import (
    abstract_network,
    clip_shapes,
    encode_flops,
    forward_flops,
    label_flops,
    train_flops,
    window_flops,
)
from value_model.critic.network import wvm_loss

TINY = PRESETS["tiny"]


def test_one_layer_of_the_value_stream_by_hand() -> None:
    """A layer more, at inference: 6 products of a width with a width or its multiple a token, and attention."""
    deeper = dataclasses.replace(MICRO, video=dataclasses.replace(MICRO.video, layers=3))
    video, value, spatial, values, words = 32, 16, 4, 5, 16
    by_stream = 0
    for width, hidden, tokens in ((video, 64, spatial), (value, 32, values)):
        joint = tokens * (3 * width * video + video * width)
        cross = tokens * 2 * width**2 + words * 2 * width**2 + 2 * tokens * words * width
        by_stream += joint + cross + tokens * 2 * width * hidden
    attention = 2 * (spatial + values) ** 2 * video
    assert window_flops(deeper) - window_flops(MICRO) == 2 * (by_stream + attention)


@pytest.mark.parametrize(("config", "least"), [(MICRO, 0.8), (TINY, 0.95)], ids=["micro", "tiny"])
def test_against_xla(config: WVMConfig, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA counts the other operations too, and a loop's body once: so the layers are unrolled here."""
    monkeypatch.setattr(jax.lax, "scan", functools.partial(jax.lax.scan, unroll=True))
    graph, params = abstract_network(config)

    def loss(params: nnx.State, clip, key: jax.Array) -> jax.Array:
        return wvm_loss(nnx.merge(graph, params), clip, key)[0]

    shapes = (params, clip_shapes(config, 8), jax.random.key(0))
    for function, ours in ((loss, forward_flops), (jax.grad(loss), train_flops)):
        cost = jax.jit(function).lower(*shapes).cost_analysis()
        assert cost is not None
        share = 8 * ours(config) / cost["flops"]
        assert least < share <= 1


def test_parts_add_up() -> None:
    assert 2.9 * forward_flops(TINY) < train_flops(TINY) < 3 * forward_flops(TINY)
    assert label_flops(TINY) == encode_flops(TINY) + window_flops(TINY)
    assert window_flops(TINY) < forward_flops(TINY)  # no future stream
