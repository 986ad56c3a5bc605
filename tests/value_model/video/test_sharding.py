"""One device and many give the same numbers; checkpoints move between them; precision, micro-batches, recomputation."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from envs.errors import UserError
from tests.value_model.synthetic import MICRO
from value_model.critic.clips import Clip
from value_model.critic.config import WVMConfig
from value_model.critic.gradients import loss_gradients, split_network
from value_model.critic.network import WVMNetwork
from value_model.critic.train import train_network
from value_model.video.config import OptimConfig
from value_model.video.loop import HostBatches
from value_model.video.prefetch import prefetch
from value_model.video.sharding import check_batch, parameter_spec

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What `tests/value_model/sharded.py` saw, on 1, 2 and 8 simulated devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    command = [sys.executable, "-m", "tests.value_model.sharded", str(tmp_path_factory.mktemp("sharded"))]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def _close(run: dict, straight: dict) -> None:
    for name in ("loss", "grad_norm"):
        for update, value in run[name].items():
            assert value == pytest.approx(straight[name][update], rel=1e-5), (name, update)


def test_eight_devices_have_the_losses_of_one(runs: dict) -> None:
    assert set(runs["8"]["loss"]) | {"2"} == {"2", "4"}
    _close(runs["8"], runs["1"])
    assert runs["1"]["held"] == 1 and runs["8"]["held"] == 1 / 8  # every matrix is split over all devices


def test_checkpoints_of_eight_devices_restore_on_two_and_on_one(runs: dict) -> None:
    for devices in (1, 2):
        resumed = runs[f"8 to {devices}"]
        assert set(resumed["loss"]) == {"4"}
        assert resumed["held"] == 1 / devices
        _close(resumed, runs["1"])


def test_micro_batches_and_recomputation_over_eight_devices(runs: dict) -> None:
    _close(runs["8, micro-batches, remat"], runs["1"])


def test_the_video_stream_alone_over_eight_devices_with_recomputation(runs: dict) -> None:
    for one, eight in zip(runs["video 1"], runs["video 8"], strict=True):
        np.testing.assert_allclose(eight, one, rtol=1e-4)
    losses, gradients = runs["video 1"]
    assert len(set(losses)) == 8 and min(gradients) > 1e-6


def test_labels_of_eight_devices_are_those_of_one(runs: dict) -> None:
    np.testing.assert_allclose(runs["label 8"], runs["label 1"], atol=1e-6)
    assert len(runs["label 1"]) == 21 + 13 + 18 and np.std(runs["label 1"]) > 1e-3


def test_where_parameters_are_split() -> None:
    assert parameter_spec(("video", "kernel"), (16, 32), 8) == PartitionSpec(None, "devices")
    assert parameter_spec(("video", "kernel"), (32, 16), 8) == PartitionSpec("devices")
    assert parameter_spec(("video", "kernel"), (32, 12), 8) == PartitionSpec("devices")
    assert parameter_spec(("video", "blocks", "kernel"), (64, 32, 32), 8) == PartitionSpec(
        None, None, "devices"
    )
    for whole in ((32,), (12, 20), ()):
        assert parameter_spec(("video", "kernel"), whole, 8) == PartitionSpec()
    assert parameter_spec(("video", "blocks", "bias"), (8, 32), 8) == PartitionSpec()  # a vector a layer


def _clip(batch: int, config: WVMConfig = MICRO) -> Clip:
    """A batch of random clips as numpy arrays; the values of the first are not known."""
    random = np.random.default_rng(batch)
    horizon = config.clip.horizon
    values = random.uniform(size=(batch, horizon + 1)).astype(np.float32)
    values[0] = np.nan
    latents = random.normal(size=(2, batch, horizon, *config.latent_shape)).astype(np.float32)
    words: np.ndarray = random.integers(1, 100, (batch, 16)).astype(np.int32)
    return Clip(latents[0], latents[1], values, words)  # type: ignore[arg-type]


def _gradients(**settings: object) -> tuple[nnx.State, dict[str, jax.Array]]:
    """Of a network all of whose parameters matter, with these settings of `optim`."""
    optim = dataclasses.replace(MICRO.optim, **settings)
    config = dataclasses.replace(MICRO, optim=optim)
    graph, fixed, params = split_network(WVMNetwork(config, rngs=nnx.Rngs(0)))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.05 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    params = jax.tree.unflatten(tree, moved)

    @jax.jit
    def gradients(params: nnx.State, clip: Clip) -> tuple[nnx.State, dict[str, jax.Array]]:
        return loss_gradients(config, graph, fixed, params, clip, jax.random.key(2))

    return gradients(params, jax.tree.map(jnp.asarray, _clip(16)))


def _distance(one: nnx.State, other: nnx.State) -> float:
    """‖one − other‖ / ‖other‖ over all parameters."""
    pairs = list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
    square = sum(float(jnp.sum((a - b) ** 2)) for a, b in pairs)
    return (square / sum(float(jnp.sum(b**2)) for _, b in pairs)) ** 0.5


@pytest.fixture(scope="module")
def plain() -> tuple[nnx.State, dict[str, jax.Array]]:
    return _gradients()


@pytest.mark.parametrize("settings", [{"accumulate": 4}, {"remat": True}], ids=str)
def test_the_same_gradient_from_micro_batches_and_with_recomputation(settings: dict, plain: tuple) -> None:
    """With a clip of unknown value among them: its micro-batch has fewer values than the others."""
    gradients, metrics = _gradients(**settings)
    assert _distance(gradients, plain[0]) < 1e-5
    for name, value in plain[1].items():
        assert float(metrics[name]) == pytest.approx(float(value), rel=1e-5)


def test_bfloat16_computes_and_float32_keeps(plain: tuple) -> None:
    gradients, metrics = _gradients(precision="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves((gradients, metrics))} == {jnp.dtype("float32")}
    distance = _distance(gradients, plain[0])
    assert 1e-4 < distance < 0.05  # bfloat16 has 8 bits: 0.4 % a rounding
    assert float(metrics["loss"]) == pytest.approx(float(plain[1]["loss"]), rel=0.01)


def test_all_products_are_in_bfloat16() -> None:
    """Every matrix product of the layers, forwards and backwards, has bfloat16 inputs; flow times stay in float32."""
    config = dataclasses.replace(MICRO, optim=dataclasses.replace(MICRO.optim, precision="bfloat16"))
    graph, fixed, params = split_network(WVMNetwork(config, rngs=nnx.Rngs(0)))
    lowered = jax.jit(
        lambda params, clip: loss_gradients(config, graph, fixed, params, clip, jax.random.key(2))
    ).lower(params, jax.tree.map(jnp.asarray, _clip(4)))
    products = [line for line in lowered.as_text().splitlines() if "stablehlo.dot_general" in line]
    low = [line for line in products if "bf16" in line.split(":")[-1].split("->")[0]]
    streams, layers_of_time = 2, 3
    assert len(products) - len(low) <= streams * layers_of_time * 3  # forwards, and two backwards each


def test_clips_of_the_host(tmp_path: Path) -> None:
    """Every update gets its own batch, and a resumed training goes on with the right one."""
    optim = dataclasses.replace(MICRO.optim, updates=4, batch=8, warmup=2, checkpoint_every=2)
    config = dataclasses.replace(MICRO, optim=optim)
    asked: list[int] = []

    def source(number: int, rows: slice) -> Clip:
        asked.append(number)
        return jax.tree.map(
            lambda array: (array * (1 + number))[rows], _clip(8)._replace(words=_clip(8).words * 0 + 1)
        )

    def run(folder: Path) -> list[float]:
        losses = []
        train_network(
            WVMNetwork(config, rngs=nnx.Rngs(0)),
            HostBatches(source, 8),
            1,
            folder,
            0,
            lambda stage, done, total, metrics: losses.append(metrics["loss"]),
        )
        return losses

    straight = run(tmp_path)
    assert asked == [0, 1, 2, 3] and len(set(straight)) == 4
    shutil.rmtree(tmp_path / "4")  # back to the checkpoint after update 2
    assert run(tmp_path) == straight[2:]
    assert asked[4:] == [2, 3]


def test_prefetch_keeps_the_order_runs_ahead_and_passes_errors_on() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        if number == 5:
            raise UserError("clip 5 is damaged")
        made.append(number)
        return number * number

    batches = prefetch(make, range(4), ahead=2)
    assert next(batches) == 0
    assert list(batches) == [1, 4, 9] and made == [0, 1, 2, 3]
    with pytest.raises(UserError, match="clip 5"):
        list(prefetch(make, range(3, 7)))


def test_batches_that_cannot_be_split() -> None:
    check_batch(64, 4, None)
    with pytest.raises(UserError, match="multiple of optim"):
        check_batch(64, 3, None)
    with pytest.raises(UserError, match="multiple of optim"):
        WVMConfig(optim=OptimConfig(batch=64, accumulate=3))
    with pytest.raises(UserError, match="precision"):
        WVMConfig(optim=OptimConfig(precision="float16"))
