"""Random small models of the diffusers library, saved as a local folder would hold the published ones."""

from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from value_model.critic.config import ValueConfig, WVMConfig
from value_model.video.config import TokenizerConfig, VideoConfig

torch.set_num_threads(1)  # the models are so small that threads only wait for one another


def wan_config(video: VideoConfig, channels: int = 4, side: int = 8) -> WVMConfig:
    """A configuration with one latent a chunk of four frames and `side` × `side` latents."""
    return WVMConfig(
        cameras=("workspace",),
        causal_video=False,
        tokenizer=TokenizerConfig(
            image_size=16 * side, channels=channels, spatial=16, temporal=4 if video.patch[0] == 1 else 1
        ),
        video=video,
        value=ValueConfig(width=16, heads=2, feedforward=32),
    )


SMALL = wan_config(
    VideoConfig(
        layers=2,
        width=32,
        heads=2,
        feedforward=48,
        patch=(1, 2, 2),
        text_width=12,
        text_tokens=7,
        time_width=32,
    )
)


ENCODED = wan_config(  # 32×32 pixels; five frames a second, of twenty in the synthetic episodes
    VideoConfig(
        layers=1,
        width=32,
        heads=2,
        feedforward=48,
        patch=(1, 2, 2),
        text_width=12,
        text_tokens=20,
        time_width=32,
    ),
    side=2,
)


def random_transformer(config: WVMConfig, seed: int = 0) -> WanTransformer3DModel:
    """Wan's transformer of this configuration's shape; no parameter has the value it is made with."""
    torch.manual_seed(seed)
    video = config.video
    model = WanTransformer3DModel(
        patch_size=video.patch,
        num_attention_heads=video.heads,
        attention_head_dim=video.width // video.heads,
        in_channels=config.tokenizer.channels,
        out_channels=config.tokenizer.channels,
        text_dim=video.text_width,
        freq_dim=video.time_width,
        ffn_dim=video.feedforward,
        num_layers=video.layers,
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def save(model: WanTransformer3DModel, folder: Path, shard: str = "10GB") -> Path:
    """Save as <folder>/transformer; gives back the folder."""
    model.save_pretrained(folder / "transformer", max_shard_size=shard)
    return folder


def reference(
    model: WanTransformer3DModel, latents: np.ndarray, tau: np.ndarray, text: np.ndarray
) -> np.ndarray:
    """The velocities y − ε of diffusers' model for latents [B, T, h, w, C], flow times [B] or [B, N] and text [B, L, D]."""
    with torch.no_grad():
        predicted = model(
            torch.from_numpy(latents.transpose(0, 4, 1, 2, 3).copy()),
            torch.from_numpy(1000 * (1 - tau)),
            torch.from_numpy(text),
        ).sample
    return -predicted.numpy().transpose(0, 2, 3, 4, 1)


def save_encoders(folder: Path, config: WVMConfig, seed: int = 0) -> Path:
    """A random small VAE, T5 encoder and tokenizer as <folder>/vae, text_encoder and tokenizer; gives back the folder."""
    torch.manual_seed(seed)
    channels = config.tokenizer.channels
    vae = AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=channels,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1 * channel for channel in range(channels)],
        latents_std=[0.5 + 0.25 * channel for channel in range(channels)],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=config.tokenizer.temporal,
        scale_factor_spatial=16,
    )
    vae.save_pretrained(folder / "vae")
    words = ["<pad>", "</s>", "<unk>", "slide", "the", "red", "square", "onto", "green", "one", "pick", "up"]
    model = WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    wrapped.save_pretrained(folder / "tokenizer")
    text = UMT5Config(
        vocab_size=len(words),
        d_model=config.video.text_width,
        d_kv=4,
        d_ff=16,
        num_layers=2,
        num_heads=2,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
    )
    UMT5EncoderModel(text).save_pretrained(folder / "text_encoder")
    return folder


def published_pipeline(folder: Path) -> WanPipeline:
    """diffusers' own pipeline with the encoders of `folder`."""
    return WanPipeline(
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        text_encoder=UMT5EncoderModel.from_pretrained(folder / "text_encoder"),
        vae=AutoencoderKLWan.from_pretrained(folder / "vae"),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        transformer=None,
        expand_timesteps=True,
    )


def save_all(folder: Path, config: WVMConfig) -> Path:
    """All parts of a random small model, in the folder."""
    return save(random_transformer(config), save_encoders(folder, config))
