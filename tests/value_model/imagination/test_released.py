"""The released checkpoint's layout: random weights there and back, against plain torch, and files that are none of it."""

import dataclasses
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from envs.errors import UserError
from tests.value_model.imagination.random_weights import MICRO, random_worldgym
from value_model.imagination.released import load_released, released_arrays
from value_model.imagination.worldgym_config import WORLDGYM_PRESETS, WorldGymConfig
from value_model.imagination.worldgym_dynamics import WorldGym

torch.set_num_threads(1)
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return {
        name: torch.from_numpy(array.copy()) for name, array in released_arrays(random_worldgym()).items()
    }


@pytest.fixture(scope="module")
def file(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As released: averaged weights, raw ones, moments, a step."""
    path = tmp_path_factory.mktemp("released") / "bridge.pt"
    raw = {name: tensor + 1 for name, tensor in weights.items()}
    torch.save({"model": raw, "ema": weights, "optimizer": {"state": {0: raw}}, "step": 7}, path)
    return path


def norm(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6)


def turned(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Pairs of neighbours as complex numbers, turned: x [..., N, head_width], angles [N, head_width / 2]."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


def frequencies(count: int) -> torch.Tensor:
    return 10_000.0 ** (-torch.arange(count) / count)


def space_angles(height: int, width: int, head: int, rotary: str) -> torch.Tensor:
    count = head // 4
    angles = torch.zeros(height, width, head // 2)
    for row in range(height):
        for column in range(width):
            if rotary == "pixel":
                scale = math.pi * torch.linspace(1, 128, count)
                y, x = 2 * row / (height - 1) - 1, 2 * column / (width - 1) - 1
            else:
                scale, y, x = frequencies(count), row, column
            angles[row, column] = torch.cat([y * scale, x * scale])
    return angles.reshape(height * width, -1)


def block(
    w: Weights, name: str, x: torch.Tensor, c: torch.Tensor, heads: int, angles, causal: bool
) -> torch.Tensor:
    """x [B, N, W] over which the attention goes, c [B, N, W]."""

    def linear(part: str, x: torch.Tensor) -> torch.Tensor:
        return x @ w[f"{name}.{part}.weight"].T + w.get(f"{name}.{part}.bias", torch.zeros(()))

    m = linear("adaLN_modulation.1", torch.nn.functional.silu(c)).chunk(6, -1)
    qkv = linear("attn.qkv_proj", norm(x) * (1 + m[1]) + m[0])
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in qkv.chunk(3, -1))
    logits = turned(q, angles) @ turned(k, angles).transpose(-1, -2) / q.shape[-1] ** 0.5
    if causal:
        logits = logits.masked_fill(torch.ones(logits.shape[-2:]).triu(1).bool(), -torch.inf)
    x = x + m[2] * linear("attn.out_proj", (logits.softmax(-1) @ v).transpose(1, 2).flatten(-2))
    hidden = torch.nn.functional.gelu(linear("ffwd.0", norm(x) * (1 + m[4]) + m[3]), approximate="tanh")
    return x + m[5] * linear("ffwd.2", hidden)


def network(
    w: Weights, config: WorldGymConfig, latents: torch.Tensor, levels: torch.Tensor, actions: torch.Tensor
) -> torch.Tensor:
    """Velocities [B, T, h, w, C], written from the names and shapes of the checkpoint."""
    batch, frames, height, width, channels = latents.shape
    rows, columns, head = height // config.patch, width // config.patch, config.width // config.heads
    images = latents.flatten(0, 1).permute(0, 3, 1, 2)
    x = torch.nn.functional.conv2d(images, w["x_proj.weight"], w["x_proj.bias"], stride=config.patch)
    x = x.flatten(2).transpose(1, 2).reshape(batch, frames, rows * columns, -1)
    half = config.time_width // 2
    angles = levels[..., None] * torch.exp(-math.log(10_000) * torch.arange(half) / half)
    c = torch.cat([angles.cos(), angles.sin()], -1) @ w["timestep_mlp.0.weight"].T + w["timestep_mlp.0.bias"]
    c = torch.nn.functional.silu(c) @ w["timestep_mlp.2.weight"].T + w["timestep_mlp.2.bias"]
    c = c + actions @ w["action_embedder.weight"].T + w["action_embedder.bias"]
    c = c[:, :, None].expand(x.shape)
    space, time = (
        space_angles(rows, columns, head, config.rotary),
        torch.outer(torch.arange(frames), frequencies(head // 2)),
    )
    for layer in range(config.layers):
        name = f"blocks.{layer}"
        x = block(w, f"{name}.s_block", x.flatten(0, 1), c.flatten(0, 1), config.heads, space, False)
        x = x.unflatten(0, (batch, frames)).transpose(1, 2)
        along = c.transpose(1, 2)
        x = block(w, f"{name}.t_block", x.flatten(0, 1), along.flatten(0, 1), config.heads, time, True)
        x = x.unflatten(0, (batch, rows * columns)).transpose(1, 2)
    m = torch.nn.functional.silu(c) @ w["final_layer.adaLN_modulation.1.weight"].T
    shift, scale = (m + w["final_layer.adaLN_modulation.1.bias"]).chunk(2, -1)
    x = (norm(x) * (1 + scale) + shift) @ w["final_layer.linear.weight"].T + w["final_layer.linear.bias"]
    x = x.reshape(batch, frames, rows, columns, config.patch, config.patch, channels)
    return x.permute(0, 1, 2, 4, 3, 5, 6).reshape(latents.shape)


@pytest.mark.parametrize("rotary", ["standard", "pixel"])
def test_the_loaded_network_is_that_of_plain_torch(file: Path, weights: Weights, rotary: str) -> None:
    config = dataclasses.replace(MICRO, rotary=rotary)
    torch.manual_seed(0)
    latents, actions = torch.randn(2, 3, *config.latent_shape), torch.randn(2, 3, config.action_dim)
    levels = torch.tensor([[14, 14, 999], [300, 0, 60]])
    expected = network(weights, config, latents, levels, actions)
    loaded = load_released(file, config)
    found = nnx.jit(lambda model, *inputs: model.network(*inputs))(
        loaded, *(jnp.asarray(x.numpy()) for x in (latents, levels, actions))
    )
    assert float(expected.std()) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_there_and_back(file: Path, weights: Weights) -> None:
    """`ema` is preferred, `model` taken where there is none, half precision read and made."""
    back = released_arrays(load_released(file, MICRO))
    assert back.keys() == weights.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, weights[name])
    half = load_released(file, dataclasses.replace(MICRO, precision="bfloat16"))
    assert half.network.blocks.spatial.qkv.kernel.dtype == jnp.bfloat16
    only = file.with_name("only.pt")
    torch.save({"model": {name: tensor.half() for name, tensor in weights.items()}}, only)
    np.testing.assert_allclose(
        released_arrays(load_released(only, MICRO))["x_proj.bias"], weights["x_proj.bias"], atol=1e-3
    )


def test_the_published_names_and_shapes() -> None:
    """As they are listed for the released checkpoint: a network without arrays has them, layer by layer."""
    config = dataclasses.replace(WORLDGYM_PRESETS["worldgym"], layers=1)
    small = dataclasses.replace(config, width=64)
    names = {name: array.shape for name, array in released_arrays(WorldGym(small, rngs=nnx.Rngs(0))).items()}
    expected = {
        "x_proj.weight": (64, 16, 2, 2),
        "timestep_mlp.0.weight": (64, 256),
        "timestep_mlp.2.weight": (64, 64),
        "action_embedder.weight": (64, 10),
        "final_layer.adaLN_modulation.1.weight": (128, 64),
        "final_layer.linear.weight": (64, 64),
    }
    for half in ("s_block", "t_block"):
        expected |= {
            f"blocks.0.{half}.adaLN_modulation.1.weight": (384, 64),
            f"blocks.0.{half}.attn.qkv_proj.weight": (192, 64),
            f"blocks.0.{half}.attn.out_proj.weight": (64, 64),
            f"blocks.0.{half}.ffwd.0.weight": (4096, 64),
            f"blocks.0.{half}.ffwd.2.weight": (64, 4096),
        }
    biases = {
        name.replace("weight", "bias"): shape[:1] for name, shape in expected.items() if "qkv" not in name
    }
    assert names == expected | biases


def one_line(file: Path, config: WorldGymConfig = MICRO) -> str:
    with pytest.raises(UserError) as raised:
        load_released(file, config)
    message = str(raised.value)
    assert ("\n" not in message and message.startswith(str(file))) or "no checkpoint" in message
    return message


class Command:
    """What a malicious pickle would run."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("ran"),))


def test_files_that_are_none_of_it(file: Path, weights: Weights, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "other.pt"
    assert "no checkpoint" in one_line(path)
    path.write_bytes(b"not a checkpoint")
    assert "tensors alone" in one_line(path)
    path.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "tensors alone" in one_line(path)
    torch.save({"ema": weights, "step": Command()}, path)
    assert "tensors alone" in one_line(path) and not (tmp_path / "ran").exists()
    torch.save({"ema": weights}, path, _use_new_zipfile_serialization=False)
    assert "tensors alone" in one_line(path)
    for content in (dict(weights), list(weights.values()), {"ema": None}):
        torch.save(content, path)
        assert "neither `ema` nor `model`" in one_line(path)
    torch.save({"ema": {**weights, "x_proj.bias": 3}}, path)
    assert "x_proj.bias is not a tensor" in one_line(path)


def test_weights_of_another_network(file: Path, weights: Weights, tmp_path: Path) -> None:
    """Which tensor is the first that is missing, left over or of another shape."""
    path = tmp_path / "other.pt"
    torch.save({"ema": {name: tensor for name, tensor in weights.items() if name != "x_proj.bias"}}, path)
    assert "lacks 1 tensors, first x_proj.bias" in one_line(path)
    torch.save({"ema": {**weights, "blocks.0.s_block.attn.qkv_proj.bias": torch.zeros(96)}}, path)
    assert "1 tensors too many, first blocks.0.s_block.attn.qkv_proj.bias" in one_line(path)
    assert "x_proj.weight is [32, 3, 2, 2], this preset needs [32, 4, 2, 2]" in one_line(
        file, dataclasses.replace(MICRO, latent_shape=(4, 6, 4))
    )
    assert "lacks" in one_line(file, dataclasses.replace(MICRO, layers=3))
    assert "too many, first blocks.1" in one_line(file, dataclasses.replace(MICRO, layers=1))
    assert "action_embedder.bias is [32], this preset needs [1024]" in one_line(
        file, dataclasses.replace(WORLDGYM_PRESETS["worldgym_bridge"], layers=MICRO.layers)
    )
