"""Wan's frozen encoders, from a local diffusers folder: its causal video VAE and its T5 text encoder.

    <weights>/vae, <weights>/text_encoder, <weights>/tokenizer

They run in torch, by diffusers and transformers (`pip install 'policy-extraction[wan]'`), before training. What they
give is what Wan's own pipeline feeds its transformer. Published: AutoencoderKLWan of Wan2.2-TI2V-5B (4×16×16 pixels to
48 channels) and UMT5-XXL.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from envs.errors import UserError
from value_model.video.config import VideoModelConfig
from value_model.video.safetensors_folder import check_index, read_json

HEAD_BYTES = 1 << 20  # of every file go into a fingerprint
PAD = 16  # rows of text are rounded up to a multiple of it, so that few shapes are compiled


class VideoEncoder:
    """The video VAE: pixels to normalised latents. The first frame becomes one latent, every four more another one.

    Args:
        weights: of a diffusers pipeline.
        config: the VAE must have its tokenizer's compression and channels.
        device: of torch; not given: a GPU if there is one.

    Raises:
        UserError: the `wan` extra is not installed; the folder is incomplete, damaged or of another VAE.
    """

    def __init__(self, weights: Path, config: VideoModelConfig, device: str | None = None) -> None:
        folder, token = Path(weights) / "vae", config.tokenizer
        expected = {
            "_class_name": "AutoencoderKLWan",
            "z_dim": token.channels,
            "scale_factor_temporal": token.temporal,
            "scale_factor_spatial": token.spatial,
        }
        settings = check_settings(folder, expected)
        torch, diffusers, _ = libraries()
        self._torch, self._device = torch, pick_device(torch, device)
        loaded = load_pretrained(diffusers.AutoencoderKLWan, folder, torch_dtype=torch.float32)
        self._vae = loaded.to(self._device).eval().requires_grad_(False)
        self._mean = np.asarray(settings["latents_mean"], np.float32)
        self._std = np.asarray(settings["latents_std"], np.float32)

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """Latents float32 [B, 1 + n, h, w, C] of clips uint8 [B, 1 + 4 n, H, W, 3]: posterior means, normalised.

        A latent depends on its own frames and on those before, never on later ones.
        """
        if clips.dtype != np.uint8 or clips.ndim != 5 or (clips.shape[1] - 1) % 4:
            raise ValueError(f"clips must be uint8 [B, 1 + 4 n, H, W, 3], not {clips.dtype} {clips.shape}")
        torch = self._torch
        pixels = torch.from_numpy(clips.transpose(0, 4, 1, 2, 3).copy()).to(self._device)
        with torch.inference_mode():
            raw = self._vae.encode(pixels.float() / 127.5 - 1.0).latent_dist.mode()
        return (raw.permute(0, 2, 3, 4, 1).cpu().numpy() - self._mean) / self._std


class TextEncoder:
    """The T5 encoder: instructions to embeddings of their tokens. Arguments and errors as of `VideoEncoder`."""

    def __init__(self, weights: Path, config: VideoModelConfig, device: str | None = None) -> None:
        folder = Path(weights) / "text_encoder"
        check_settings(folder, {"model_type": "umt5", "d_model": config.video.text_width})
        torch, _, transformers = libraries()
        self._torch, self._device, self._tokens = torch, pick_device(torch, device), config.video.text_tokens
        self._tokenizer = load_pretrained(transformers.AutoTokenizer, Path(weights) / "tokenizer")
        model, report = load_pretrained(
            transformers.UMT5EncoderModel, folder, dtype="auto", output_loading_info=True
        )
        missing = set(report["missing_keys"])
        spare = "shared.weight" if "shared.weight" in missing else "encoder.embed_tokens.weight"
        if missing - {spare}:
            raise UserError(f"{folder} lacks the tensor {min(missing - {spare})}; download it again")
        one_table = model.encoder.embed_tokens if spare == "shared.weight" else model.shared
        model.set_input_embeddings(one_table)  # checkpoints hold it under one of its two names
        self._model = model.to(self._device).eval().requires_grad_(False)

    def __call__(self, instruction: str) -> np.ndarray:
        """Embeddings float32 [n, text_width] of the instruction's tokens, its end included; n ≤ `text_tokens`.

        Raises:
            UserError: the instruction is empty.
        """
        text = clean(instruction)
        if not text:
            raise UserError(
                f"the instruction {instruction!r} has no words; say in a sentence what the robot should do"
            )
        torch = self._torch
        read = self._tokenizer(
            text,
            padding="max_length",
            max_length=self._tokens,
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._device)
        with torch.inference_mode():
            embedded = self._model(read.input_ids, read.attention_mask).last_hidden_state
        return embedded[0, : int(read.attention_mask.sum())].float().cpu().numpy()


def clean(text: str) -> str:
    """Text as Wan's pipeline reads it: mended, entities resolved, single spaces."""
    import ftfy

    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text)))).strip()


def fill_up(texts: Sequence[np.ndarray], tokens: int) -> np.ndarray:
    """Embedded texts [n, D] as one array [N, L, D] with L ≤ `tokens`, filled up with zeros.

    At least one row of zeros is left to each text that is shorter than `tokens`, see `blocks.padding_bias`.
    """
    rows = min(-(-(max(len(text) for text in texts) + 1) // PAD) * PAD, tokens)
    filled = np.zeros((len(texts), rows, texts[0].shape[-1]), np.float32)
    for row, text in zip(filled, texts, strict=True):
        row[: len(text)] = text
    return filled


def fingerprint(weights: Path) -> str:
    """A digest of the encoders: of the names, sizes and first megabyte of all their files."""
    total = hashlib.sha256()
    for part in ("vae", "text_encoder", "tokenizer"):
        for path in sorted((Path(weights) / part).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                total.update(f"{part}/{path.name}:{path.stat().st_size}\n".encode())
                with open(path, "rb") as file:
                    total.update(file.read(HEAD_BYTES))
    return total.hexdigest()


def libraries() -> tuple[Any, Any, Any]:
    """torch, diffusers and transformers.

    Raises:
        UserError: one of them is not installed.
    """
    try:
        import diffusers
        import ftfy  # noqa: F401
        import torch
        import transformers
    except ImportError as error:
        raise UserError(
            f"Wan's encoders need {error.name}, which is not installed: pip install 'policy-extraction[wan]'"
        ) from error
    return torch, diffusers, transformers


def pick_device(torch: Any, device: str | None) -> str:
    """torch's device: the given one, or a GPU if there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def check_settings(folder: Path, expected: dict[str, Any]) -> dict[str, Any]:
    """The config.json of a model of diffusers' or transformers'.

    Raises:
        UserError: it is missing or damaged, or a setting is another one than expected.
    """
    found = read_json(folder / "config.json")
    for name, value in expected.items():
        if found.get(name) != value:
            raise UserError(
                f"{folder} is of another model: {name} is {found.get(name)}, this configuration needs {value}; "
                "give other weights or change the configuration"
            )
    return found


def load_pretrained(kind: Any, folder: Path, **options: Any) -> Any:
    """A model of class `kind` from its local folder.

    Raises:
        UserError: the folder is missing, incomplete or damaged.
    """
    if not folder.is_dir():
        raise UserError(f"the weights folder is incomplete: {folder} is missing; download the whole model")
    for index in folder.glob("*.index.json"):
        check_index(folder, index)
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{folder} cannot be loaded ({first}); download it again") from error
