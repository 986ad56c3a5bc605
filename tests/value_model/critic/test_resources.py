"""Resources from the shapes: against the published sizes, by hand, and against what XLA allocates."""

import dataclasses
from typing import Any

import jax
import pytest
from flax import nnx

from tests.value_model.synthetic import MICRO
from value_model.critic.config import PRESETS
from value_model.critic.flops import abstract_network, clip_shapes, hardware_flops, train_flops
from value_model.critic.gradients import loss_gradients, split_network
from value_model.critic.network import Clip
from value_model.critic.resources import GPUS, activation_bytes, memory, parameters, plan, plans

TINY, WAN = PRESETS["tiny"], PRESETS["wan2_2_ti2v_5b"]
A100 = GPUS[0]


def test_the_published_parameters() -> None:
    """Wan2.2-TI2V-5B's transformer has 4,999,787,712; the paper says 0.7 B for the value stream."""
    counted = parameters(WAN)
    assert counted["video"] == 4_999_787_712
    assert counted["value"] / 1e9 == pytest.approx(0.7, abs=0.05)


def test_memory_by_hand() -> None:
    """On 8 devices each holds an eighth of every matrix, and every vector whole."""
    weights = sum(parameters(MICRO).values()) * 4
    alone, split = memory(MICRO, 1, 4), memory(MICRO, 8, 2)
    assert alone["weights"] == weights and alone["moments"] == 2 * weights
    assert alone["gradients"] == 2 * weights  # 4 clips at a time of a batch of 16: a sum, and what is added
    assert memory(MICRO, 1, 16)["gradients"] == weights
    assert alone["gathered"] == alone["compute copy"] == 0
    assert weights / 8 < split["weights"] < weights / 6
    assert split["activations"] == 2 * activation_bytes(MICRO)
    assert split["batch"] == alone["batch"] / 8
    half = dataclasses.replace(MICRO, optim=dataclasses.replace(MICRO.optim, precision="bfloat16"))
    assert (
        weights / 2 <= memory(half, 1, 16)["compute copy"] < 0.65 * weights
    )  # the flow times stay in float32


def test_plans_by_hand() -> None:
    assert [found.devices for found in plans(MICRO, A100, mfu=0.5, most=8)] == [1, 2, 4, 8]
    one, two = plan(MICRO, A100, 1, 0.5), plan(MICRO, A100, 2, 0.5)
    assert one is not None and two is not None
    assert one.clips == 16 and two.clips == 8
    seconds = train_flops(MICRO) * 16 * 40 / (312e12 * 0.5)
    assert one.hours == pytest.approx(seconds / 3600) and two.hours == pytest.approx(one.hours / 2)
    assert plan(MICRO, dataclasses.replace(A100, memory=1e4), 1, 0.5) is None


def test_recomputation_trades_operations_for_memory() -> None:
    remat = dataclasses.replace(TINY, optim=dataclasses.replace(TINY.optim, remat=True))
    assert train_flops(remat) == train_flops(TINY) == hardware_flops(TINY)
    assert 1.2 < hardware_flops(remat) / train_flops(remat) < 1.34  # a second forward pass of the layers: 4/3
    assert activation_bytes(remat) < 0.5 * activation_bytes(TINY)


def _allocated(batch: int) -> Any:
    """What XLA plans for the gradients of a batch, which it compiles and does not run."""
    config = dataclasses.replace(TINY, optim=dataclasses.replace(TINY.optim, batch=batch))
    graph, fixed, params = split_network(nnx.merge(*abstract_network(config)))

    def gradients(fixed: nnx.State, params: nnx.State, clip: Clip, key: jax.Array) -> Any:
        return loss_gradients(config, graph, fixed, params, clip, key)

    lowered = jax.jit(gradients).lower(fixed, params, clip_shapes(config, batch), jax.random.key(0))
    return lowered.compile().memory_analysis()


def test_against_what_xla_allocates() -> None:
    """Activations that a clip adds, within 40 %: XLA fuses some away, and needs scratch of its own."""
    small, large = _allocated(8), _allocated(16)
    per_clip = (large.temp_size_in_bytes - small.temp_size_in_bytes) / 8
    assert activation_bytes(TINY) == pytest.approx(per_clip, rel=0.4)
    weights = sum(parameters(TINY).values()) * 4
    assert small.output_size_in_bytes == pytest.approx(weights, rel=0.01)
