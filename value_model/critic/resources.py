"""What a training needs, computed from the shapes: parameters, memory of a device, operations and time.

No array is made: the program is traced with shapes (`jax.eval_shape`), so the largest preset takes seconds.

The memory of a device, with n devices and c clips computed at a time on each (P parameters):

    weights 4 P / n, gradients 4 P / n (twice with micro-batches), AdamW's moments 8 P / n, bfloat16 copy 2 P / n
    gathered: the matrices outside the layers and their gradients, two layers and one layer's gradients, whole
    activations of c clips, and 1 / n of the batch's clips and noise

Rematerialisation keeps every layer's input and, of one layer at a time, everything. Not counted are the compiler's
scratch space and fragmentation: `FILL` leaves room for them.

Why not XLA's own memory analysis: it needs the program compiled for as many devices, and a table of plans asks for some
fifty combinations of devices and clips. One update of the largest preset for 8 simulated devices compiled for 298 s on two
cores that others used too. It also says what a CPU would allocate, which computes bfloat16 products in float32. Where it is
cheap a test compares with it (`tests/value_model/critic/test_resources.py`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
from flax import nnx

from value_model.critic.config import WVMConfig
from value_model.critic.flops import abstract_network, clip_shapes, train_flops
from value_model.critic.gradients import split_network
from value_model.critic.network import noise_clip, wvm_loss
from value_model.video.precision import compute_copy
from value_model.video.sharding import AXIS, STACKED, parameter_spec

FILL = 0.9  # share of a GPU's memory that is planned with


@dataclass(frozen=True)
class GPU:
    """A device to plan with."""

    name: str
    memory: float  # bytes
    peak: float  # bfloat16 operations a second, dense, from the manufacturer's data sheet


GPUS = (GPU("A100 80 GB", 80e9, 312e12), GPU("H200 141 GB", 141e9, 989e12))


@dataclass(frozen=True)
class Plan:
    """A training on a number of devices."""

    devices: int
    clips: int  # computed at a time on a device
    memory: float  # bytes of a device
    hours: float


def parameters(config: WVMConfig) -> dict[str, int]:
    """Number of parameters by part of the network: video stream, value stream, and what else there is."""
    total: dict[str, int] = {}
    for path, leaf in nnx.to_flat_state(abstract_network(config)[1]):
        part = str(path[0]) if path[0] in ("video", "value") else "other"
        total[part] = total.get(part, 0) + leaf.size
    return total


def memory(config: WVMConfig, devices: int, clips: int) -> dict[str, float]:
    """Bytes on each of `devices` devices that computes `clips` clips at a time, by what they are for."""
    fixed, params = _shapes(config)
    optim = config.optim
    trained, others = _held(params, devices), _held(fixed, devices)
    computed = jax.eval_shape(lambda tree: compute_copy(tree, optim.precision), (fixed, params))
    parts = 1 if clips * devices >= optim.batch else 2
    found = {
        "weights": trained + others,
        "gradients": parts * trained,
        "moments": 2 * trained,
        "compute copy": 0 if optim.precision == "float32" else _held(computed, devices),
        "gathered": _gathered(computed, config.video.layers) if devices > 1 else 0,
        "activations": clips * activation_bytes(config),
        "batch": _noised_bytes(config) * optim.batch / devices,
    }
    return {use: float(size) for use, size in found.items()}


@cache
def activation_bytes(config: WVMConfig) -> int:
    """Bytes that each clip of a batch keeps on its device between the forward and the backward pass."""
    kept = _kept(config, 2) - _kept(config, 1)
    if not config.optim.remat:
        return kept
    plain = dataclasses.replace(config, optim=dataclasses.replace(config.optim, remat=False))
    one, two = (_with_layers(plain, layers) for layers in (1, 2))
    return kept + (_kept(two, 2) - _kept(two, 1)) - (_kept(one, 2) - _kept(one, 1))


def plan(config: WVMConfig, gpu: GPU, devices: int, mfu: float) -> Plan | None:
    """The training on so many GPUs, at the share `mfu` of their peak; None if it does not fit.

    As many clips at a time as fit, up to the batch, in powers of two.
    """
    share = config.optim.batch // devices
    for clips in (2**power for power in range(share.bit_length() - 1, -1, -1)):
        total = sum(memory(config, devices, clips).values())
        if share % clips == 0 and total <= FILL * gpu.memory:
            operations = train_flops(config) * config.optim.batch * config.optim.updates
            return Plan(devices, clips, total, operations / (devices * gpu.peak * mfu) / 3600)
    return None


def plans(config: WVMConfig, gpu: GPU, mfu: float, most: int = 256) -> list[Plan]:
    """`plan` for every power of two up to `most` that divides the batch and on which the training fits."""
    counts = [2**power for power in range(most.bit_length())]
    found = [plan(config, gpu, count, mfu) for count in counts if config.optim.batch % count == 0]
    return [one for one in found if one is not None]


def _abstract(config: WVMConfig) -> Any:
    return nnx.merge(*abstract_network(config))


def _shapes(config: WVMConfig) -> tuple[nnx.State, nnx.State]:
    """Shapes of the parameters that stay as they are, and of those that are trained."""
    return split_network(_abstract(config))[1:]


def _kept(config: WVMConfig, batch: int) -> int:
    """Bytes of what differentiation keeps of a batch's forward pass, parameters included."""
    graph, params = abstract_network(config)

    def backwards(params: nnx.State, clip: Any, key: jax.Array) -> Any:
        def loss(params: nnx.State) -> jax.Array:
            computed = compute_copy(params, config.optim.precision)
            return wvm_loss(nnx.merge(graph, computed), clip, key)[0]

        return jax.vjp(loss, params)[1]

    kept = jax.eval_shape(backwards, params, clip_shapes(config, batch), jax.random.key(0))
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(kept))


def _with_layers(config: WVMConfig, layers: int) -> WVMConfig:
    return dataclasses.replace(config, video=dataclasses.replace(config.video, layers=layers))


def _noised_bytes(config: WVMConfig) -> int:
    """Bytes of a clip with its noise and targets."""
    noised = jax.eval_shape(
        lambda clip, key: noise_clip(config, clip, key), clip_shapes(config, 1), jax.random.key(0)
    )
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(noised))


def _held(tree: Any, devices: int) -> float:
    """Bytes of a tree's arrays that each device holds."""
    total = 0.0
    for path, leaf in nnx.to_flat_state(tree) if isinstance(tree, nnx.State) else _flat(tree):
        split = AXIS in parameter_spec(path, leaf.shape, devices)
        total += _bytes(leaf) / (devices if split else 1)
    return total


def _flat(trees: tuple[nnx.State, ...]) -> list[tuple[tuple, Any]]:
    return [item for tree in trees for item in nnx.to_flat_state(tree)]


def _gathered(trees: tuple[nnx.State, ...], layers: int) -> float:
    """Bytes of what is whole at once: the matrices outside the layers, two layers, and one layer's gradients."""
    total = 0.0
    for path, leaf in _flat(trees):
        total += 3 * _bytes(leaf) / layers if STACKED in path else 2 * _bytes(leaf)
    return total


def _bytes(leaf: Any) -> int:
    return leaf.size * leaf.dtype.itemsize
