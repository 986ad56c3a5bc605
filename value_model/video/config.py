"""Configuration of the video model that critic and simulator stand on. Published values stand beside ours.

Published: "World Value Models for Robotic Manipulation", arXiv 2606.24742, on Wan2.2-TI2V-5B. The defaults are
the `tiny` preset: two CPU cores, a few minutes, float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from envs.fields import later

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TokenizerConfig:
    """The video VAE. Published: the frozen VAE of Wan2.2, 4×16×16 compression to 48 channels."""

    image_size: int = 64  # pixels, height and width
    channels: int = 8  # of a latent; published 48
    spatial: int = 8  # pixels per latent, each way; published 16
    temporal: int = 1  # frames per latent; published 4
    width: int = 64
    kl_weight: float = 1e-5
    motion_weight: float = 0.0  # how much more a pixel counts that differs from the episode's first frame
    updates: int = 400  # published 0: their VAE is frozen
    batch: int = 64
    learning_rate: float = 2e-3
    frames: int = 8192  # drawn from the training episodes to train on
    augment: bool = later(False)  # turned, mirrored and recoloured at random: few recordings show few scenes
    updates_per_dispatch: int = 1  # more pays on a GPU; XLA's convolutions are slow inside a loop on a CPU


@dataclass(frozen=True)
class VideoConfig:
    """The video DiT (Wan's architecture)."""

    layers: int = 4  # published 30
    width: int = 128  # published 3072
    heads: int = 4  # published 24
    feedforward: int = 512  # published 14336
    patch: tuple[int, int, int] = (4, 4, 4)  # latents per token: time, height, width; published (1, 2, 2)
    text_width: int = 64  # of a word's embedding; published 4096 (T5)
    text_tokens: int = (
        0  # of an instruction embedded beforehand; 0: words hashed and embedded here; published 512 (T5)
    )
    time_width: int = 128  # sinusoids of the flow time; published 256


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with linear warm-up and cosine decay."""

    updates: int = 2000  # published 30,000
    batch: int = 64  # published 1024
    learning_rate: float = 1e-3  # published 1e-4
    warmup: int = 100  # published 500
    final_learning_rate: float = 0.1  # as a share of learning_rate; published .1
    beta1: float = 0.9  # published .9
    beta2: float = 0.95  # published .95
    weight_decay: float = 0.0  # published 0
    clip_norm: float = 1.0  # published 1
    video_weight: float = 1.0  # λ of L = L_value + λ L_video; published 1
    video_updates: int = 0  # of the video stream alone, before both; published: Wan2.2's own pretraining
    freeze_video: bool = False  # keep the video stream as it is after `video_updates`; published: trained
    precision: str = (
        "float32"  # of products and activations; weights, moments and losses are float32; published bfloat16
    )
    remat: bool = False  # compute each layer's activations again in the backward pass instead of keeping them
    accumulate: int = 1  # micro-batches that a batch is computed in, one after the other
    updates_per_dispatch: int = 25
    checkpoint_every: int = 250  # updates


@runtime_checkable
class VideoModelConfig(Protocol):
    """What the video model's code reads of a whole model's configuration."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Seen side by side."""
        ...

    @property
    def tokenizer(self) -> TokenizerConfig: ...

    @property
    def video(self) -> VideoConfig: ...

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one latent frame, all cameras side by side."""
        ...
