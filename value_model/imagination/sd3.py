"""The frozen image autoencoder that the published world model imagines in: Stable Diffusion 3's, from a local folder.

    <folder>/config.json, diffusion_pytorch_model.safetensors   (`vae` of a diffusers pipeline)

It runs in torch, by diffusers (`pip install 'policy-extraction[wan]'`). As the released model was trained, latents are
multiplied by `scaling_factor` alone; `shift_factor`, which SD3's own pipeline subtracts, is left out.

Dimension letters: B frames, H and W height and width in pixels, h and w in latents, C channels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from envs.errors import UserError
from value_model.imagination.worldgym_config import WorldGymConfig
from value_model.video.wan.encoders import check_settings, libraries, load_pretrained, pick_device


class SD3Autoencoder:
    """Images to latents and back, as `Tokenizer` does it: 256×256×3 pixels to 32×32×16.

    Args:
        folder: of the autoencoder.
        config: latents must have its channels.
        device: of torch; not given: a GPU if there is one.

    Raises:
        UserError: the `wan` extra is not installed; the folder is incomplete, damaged or of another autoencoder.
    """

    def __init__(self, folder: Path, config: WorldGymConfig, device: str | None = None) -> None:
        height, width, channels = config.latent_shape
        expected = {"_class_name": "AutoencoderKL", "latent_channels": channels}
        check_settings(Path(folder), expected)
        torch, diffusers, _ = libraries()
        self._torch, self._device = torch, pick_device(torch, device)
        loaded = load_pretrained(diffusers.AutoencoderKL, Path(folder), torch_dtype=torch.float32)
        factor = 2 ** (len(loaded.config.block_out_channels) - 1)
        self.latent_shape, self.picture = config.latent_shape, (factor * height, factor * width)
        self._scale = float(loaded.config.scaling_factor)
        self._vae = loaded.to(self._device).eval().requires_grad_(False)

    def encode(self, frames: np.ndarray, seed: int | None = None) -> np.ndarray:
        """Latents float32 [B, h, w, C] of frames uint8 [B, H, W, 3].

        Args:
            seed: of a sample of the posterior, which the released model was trained on; not given: its mean.

        Raises:
            UserError: frames of another type or size.
        """
        if frames.dtype != np.uint8 or frames.shape[1:] != (*self.picture, 3):
            height, width = self.picture
            raise UserError(
                f"this world model takes pictures uint8 [B, {height}, {width}, 3], not {frames.dtype} {frames.shape}; "
                "resize them"
            )
        torch = self._torch
        pixels = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()).to(self._device)
        with torch.inference_mode():
            posterior = self._vae.encode(pixels.float() / 127.5 - 1.0).latent_dist
            random = None if seed is None else torch.Generator(self._device).manual_seed(seed)
            raw = posterior.mode() if random is None else posterior.sample(random)
        return (raw * self._scale).permute(0, 2, 3, 1).cpu().numpy()

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Pixels float32 [B, H, W, 3] in [−1, 1] of latents [B, h, w, C].

        Raises:
            UserError: latents of another shape.
        """
        if latents.shape[1:] != self.latent_shape:
            raise UserError(
                f"latents must be [B, {', '.join(map(str, self.latent_shape))}], not {latents.shape}"
            )
        torch = self._torch
        raw = torch.from_numpy(np.asarray(latents, np.float32).transpose(0, 3, 1, 2).copy()).to(self._device)
        with torch.inference_mode():
            pixels = self._vae.decode(raw / self._scale).sample
        return pixels.permute(0, 2, 3, 1).cpu().numpy().clip(-1.0, 1.0)
