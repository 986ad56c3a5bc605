"""Our video stream against the real `WanTransformer3DModel` of diffusers: saved to disk by it, loaded by us."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from flax import nnx
from jax.sharding import SingleDeviceSharding
from safetensors.numpy import load_file, save_file

from envs.errors import UserError
from tests.value_model.wan_models import SMALL, random_transformer, reference, save, wan_config
from value_model.critic.config import PRESETS, WVMConfig
from value_model.critic.network import WVMNetwork
from value_model.critic.wan.network import load_wan_network
from value_model.video.config import VideoConfig
from value_model.video.dit import VideoDiT
from value_model.video.wan.layout import check_config
from value_model.video.wan.weights import _cut, load_video_weights

SHAPES = {
    "small": (SMALL, 3),
    "one frame, one layer": (
        wan_config(
            VideoConfig(
                layers=1, width=36, heads=3, feedforward=20, patch=(1, 2, 2), text_width=8, time_width=16
            )
        ),
        1,
    ),
    "long text": (
        wan_config(
            VideoConfig(
                layers=2,
                width=40,
                heads=4,
                feedforward=64,
                patch=(1, 1, 1),
                text_width=16,
                text_tokens=512,
                time_width=64,
            ),
            channels=6,
            side=4,
        ),
        2,
    ),
    "deep, wide patch": (
        wan_config(
            VideoConfig(
                layers=5,
                width=64,
                heads=1,
                feedforward=96,
                patch=(2, 4, 4),
                text_width=24,
                text_tokens=3,
                time_width=256,
            ),
            channels=2,
        ),
        4,
    ),
    "wide heads, many frames": (
        wan_config(
            VideoConfig(
                layers=2,
                width=256,
                heads=2,
                feedforward=64,
                patch=(1, 2, 2),
                text_width=8,
                text_tokens=5,
                time_width=32,
            ),
            side=4,
        ),
        9,
    ),
}


def _load(folder: Path, config: WVMConfig) -> VideoDiT:
    video = VideoDiT(config.video, config.latent_shape, rngs=nnx.Rngs(1))
    nnx.update(video, load_video_weights(folder, config))
    return video


def _inputs(config: WVMConfig, frames: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    latents = random.normal(size=(2, frames, *config.latent_shape)).astype(np.float32)
    text = random.normal(size=(2, max(config.video.text_tokens, 2), config.video.text_width)).astype(
        np.float32
    )
    text[1, 2:] = 0.0  # what Wan's pipeline fills short texts up with
    return latents, text


_run = nnx.jit(lambda video, latents, tau, text: video(latents, tau, text))


@pytest.mark.parametrize("name", SHAPES)
def test_same_output_as_diffusers(name: str, tmp_path: Path) -> None:
    config, frames = SHAPES[name]
    model = random_transformer(config)
    video = _load(save(model, tmp_path, "20KB"), config)
    assert len(list((tmp_path / "transformer").glob("*-of-*.safetensors"))) > 1
    latents, text = _inputs(config, frames)
    tau = np.array([0.25, 0.875], np.float32)
    expected = reference(model, latents, tau, text)
    token_frames = frames // config.video.patch[0]
    got = _run(video, latents, np.repeat(tau[:, None], token_frames, 1), text)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_a_flow_time_for_each_frame(tmp_path: Path) -> None:
    """Wan2.2's expand_timesteps: the first frame is clean, the others are noised."""
    model = random_transformer(SMALL)
    video = _load(save(model, tmp_path), SMALL)
    latents, text = _inputs(SMALL, 3)
    tokens = (SMALL.latent_shape[0] // 2) ** 2
    by_frame = np.array([[1.0, 0.25, 0.25], [1.0, 0.5, 0.0]], np.float32)
    by_token = np.repeat(by_frame, tokens, 1)
    expected = reference(model, latents, by_token, text)
    np.testing.assert_allclose(_run(video, latents, by_frame, text), expected, atol=1e-4)


def test_short_text_stands_for_one_filled_up_with_zeros(tmp_path: Path) -> None:
    """512 rows for diffusers, 8 for us: rows 3 and later are zero."""
    config, frames = SHAPES["long text"]
    model = random_transformer(config)
    video = _load(save(model, tmp_path), config)
    latents, text = _inputs(config, frames)
    text[0, 3:] = 0.0
    tau = np.zeros(2, np.float32)
    expected = reference(model, latents, tau, text)
    got = _run(video, latents, np.zeros((2, frames), np.float32), text[:, :8])
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_bfloat16_weights(tmp_path: Path) -> None:
    model = random_transformer(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    video = _load(save(copy.deepcopy(model).to(torch.bfloat16), tmp_path), SMALL)
    latents, text = _inputs(SMALL, 2)
    expected = reference(model, latents, np.zeros(2, np.float32), text)
    np.testing.assert_allclose(_run(video, latents, np.zeros((2, 2), np.float32), text), expected, atol=1e-4)


def test_the_value_model_is_wan_beside_a_fresh_value_stream(tmp_path: Path) -> None:
    """Positions start at 1, where the prefix latent was dropped; rotary attention only sees their differences."""
    model = random_transformer(SMALL)
    place = SingleDeviceSharding(jax.devices()[-1])
    network = load_wan_network(save(model, tmp_path), SMALL, seed=3, sharding=lambda path, shape: place)
    latents, text = _inputs(SMALL, 2)
    expected = reference(
        model, latents, np.repeat(np.array([[1.0, 0.25], [1.0, 0.0]], np.float32), 16, 1), text
    )
    nothing = np.zeros((2, 5), np.float32)
    inputs = (latents[:, :1], latents[:, 1:], nothing, nothing, np.array([0.25, 0.0], np.float32), text)
    _, future = nnx.jit(lambda network, *inputs: network(*inputs))(network, *inputs)
    np.testing.assert_allclose(future, expected[:, 1:], atol=1e-4)
    fresh = WVMNetwork(SMALL, rngs=nnx.Rngs(3))
    for one, other in zip(
        jax.tree.leaves(nnx.state(network.value)), jax.tree.leaves(nnx.state(fresh.value)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("start", [0, 3, 5])
@pytest.mark.parametrize("stop", [6, 8, 11])
def test_a_slice_of_tensors_side_by_side(start: int, stop: int) -> None:
    """What each device reads: rows 1 to 3, and columns of tensors of widths 4, 1 and 6."""
    views = [np.random.default_rng(0).normal(size=(4, width)).astype(np.float32) for width in (4, 1, 6)]
    expected = np.concatenate(views, 1)[1:3, start:stop]
    np.testing.assert_array_equal(_cut(views, (slice(1, 3), slice(start, stop))), expected)


def test_the_preset_has_the_published_shape(tmp_path: Path) -> None:
    """config.json of Wan-AI/Wan2.2-TI2V-5B-Diffusers, transformer/."""
    published = {
        "_class_name": "WanTransformer3DModel",
        "added_kv_proj_dim": None,
        "attention_head_dim": 128,
        "cross_attn_norm": True,
        "eps": 1e-06,
        "ffn_dim": 14336,
        "freq_dim": 256,
        "image_dim": None,
        "in_channels": 48,
        "num_attention_heads": 24,
        "num_layers": 30,
        "out_channels": 48,
        "patch_size": [1, 2, 2],
        "pos_embed_seq_len": None,
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 1024,
        "text_dim": 4096,
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(published))
    check_config(path, PRESETS["wan2_2_ti2v_5b"])


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(random_transformer(SMALL), tmp_path_factory.mktemp("wan"), "20KB")


@pytest.fixture
def folder(sharded: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(sharded, tmp_path / "copy"))


def _shard(folder: Path, number: int = 1) -> Path:
    return sorted((folder / "transformer").glob("*.safetensors"))[number]


def _settings(folder: Path, **changes: object) -> None:
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_incomplete_folders(folder: Path) -> None:
    with pytest.raises(UserError, match=r"incomplete: .*config\.json is missing"):
        load_video_weights(folder / "nothing", SMALL)
    cut = _shard(folder)
    cut.write_bytes(cut.read_bytes()[:-10])
    with pytest.raises(UserError, match="cut short"):
        load_video_weights(folder, SMALL)
    cut.write_bytes(b"git-lfs pointer")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_video_weights(folder, SMALL)
    cut.unlink()
    with pytest.raises(UserError, match=f"incomplete: .*{cut.name} is missing"):
        load_video_weights(folder, SMALL)
    next((folder / "transformer").glob("*.index.json")).unlink()
    with pytest.raises(UserError, match="holds neither"):
        load_video_weights(folder, SMALL)


def test_missing_left_over_and_wrong_tensors(folder: Path) -> None:
    path = _shard(folder)
    tensors = load_file(path)
    name = next(name for name in tensors if name.startswith("blocks"))
    save_file({key: value for key, value in tensors.items() if key != name}, path)
    with pytest.raises(UserError, match=r"lacks the tensor blocks.* of its index"):
        load_video_weights(folder, SMALL)
    index = next((folder / "transformer").glob("*.index.json"))
    content = json.loads(index.read_text())
    place = content["weight_map"].pop(name)
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match="lacks 1 tensors, first blocks"):
        load_video_weights(folder, SMALL)
    content["weight_map"] |= {name: place, "image_embedder.weight": place}
    index.write_text(json.dumps(content))
    save_file({**tensors, "image_embedder.weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(UserError, match=r"has 1 tensors that .* has not, first image_embedder"):
        load_video_weights(folder, SMALL)
    del content["weight_map"]["image_embedder.weight"]
    index.write_text(json.dumps(content))
    save_file({**tensors, name: tensors[name][..., :-1].copy()}, path)
    with pytest.raises(UserError, match=r"of another shape than its config\.json"):
        load_video_weights(folder, SMALL)


@pytest.mark.parametrize("name", ["../../weights.safetensors", "/weights.safetensors", 7])
def test_shards_outside_of_the_folder(folder: Path, name: object) -> None:
    shutil.copy(_shard(folder), folder.parent / "weights.safetensors")
    index = next((folder / "transformer").glob("*.index.json"))
    content = json.loads(index.read_text())
    content["weight_map"] = dict.fromkeys(content["weight_map"], name)
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match="names a file"):
        load_video_weights(folder, SMALL)


def test_other_models(folder: Path) -> None:
    deeper = dataclasses.replace(SMALL, video=dataclasses.replace(SMALL.video, layers=3))
    with pytest.raises(UserError, match="num_layers is 2, this configuration needs 3"):
        load_video_weights(folder, deeper)
    _settings(folder, image_dim=1280)
    with pytest.raises(UserError, match="image_dim is 1280"):
        load_video_weights(folder, SMALL)
    _settings(folder, _class_name="CogVideoXTransformer3DModel")
    with pytest.raises(UserError, match="of a CogVideoXTransformer3DModel"):
        load_video_weights(folder, SMALL)
