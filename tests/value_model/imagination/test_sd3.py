"""Stable Diffusion 3's autoencoder: a tiny random one of diffusers' own, saved as a local folder."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from envs.errors import UserError
from tests.value_model.imagination.random_weights import MICRO
from value_model.imagination.sd3 import SD3Autoencoder

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vae")
    AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=3,
        norm_num_groups=4,
        layers_per_block=1,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).save_pretrained(path)
    return path


def test_latents_are_scaled_and_not_shifted(folder: Path) -> None:
    """Against diffusers' own model, at twice the latents' size; the mean, a sample, and pixels again."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), np.uint8)
    coder = SD3Autoencoder(folder, MICRO)
    vae = AutoencoderKL.from_pretrained(folder).eval()
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        mean = vae.encode(pixels).latent_dist.mean
        back = vae.decode(mean).sample.permute(0, 2, 3, 1).clamp(-1, 1)
    latents = coder.encode(frames)
    assert latents.shape == (2, *MICRO.latent_shape) and latents.dtype == np.float32
    np.testing.assert_allclose(latents, 1.5305 * mean.permute(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(coder.decode(latents), back, atol=1e-5)
    drawn = coder.encode(frames, seed=3)
    np.testing.assert_array_equal(drawn, coder.encode(frames, seed=3))
    assert np.abs(drawn - latents).max() > 0.01


def test_wrong_folders_and_pictures(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json is missing"):
        SD3Autoencoder(tmp_path, MICRO)
    with pytest.raises(UserError, match="latent_channels is 3, this configuration needs 16"):
        SD3Autoencoder(folder, dataclasses.replace(MICRO, latent_shape=(4, 6, 16)))
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderTiny"}))
    with pytest.raises(UserError, match="another model: _class_name"):
        SD3Autoencoder(tmp_path, MICRO)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(UserError, match="cannot be loaded"):
        SD3Autoencoder(tmp_path, MICRO)
    coder = SD3Autoencoder(folder, MICRO)
    with pytest.raises(UserError, match="8, 12, 3"):
        coder.encode(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="4, 6, 3"):
        coder.decode(np.zeros((1, 4, 4, 3), np.float32))
