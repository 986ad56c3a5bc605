"""How Wan's transformer names and lays out the parameters of our video stream, in diffusers' format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from value_model.video.config import VideoModelConfig
from value_model.video.safetensors_folder import Tensor, read_json

Parts = tuple[Any, ...]
"""Where a parameter is in a module."""


Shape = tuple[int, ...]
Index = tuple[slice, ...]


@dataclass(frozen=True)
class Layout:
    """How we lay out a tensor of Wan's: the shape that it gets, and how a part of that is read."""

    shape: Callable[[Shape], Shape]
    read: Callable[[Tensor, Index], np.ndarray]


AS_IS = Layout(lambda shape: shape, lambda tensor, index: tensor[index])
TRANSPOSED = Layout(lambda shape: shape[::-1], lambda tensor, index: tensor[index[::-1]].T)
WITHOUT_BATCH = Layout(lambda shape: shape[1:], lambda tensor, index: tensor[(0, *index)])
PATCHES = Layout(  # a convolution [W, C, pt, ph, pw] as the kernel [pt·ph·pw·C, W] of a linear layer; small, read whole
    lambda shape: (math.prod(shape[1:]), shape[0]),
    lambda tensor, index: tensor[...].transpose(2, 3, 4, 1, 0).reshape(-1, tensor.shape[0])[index],
)


@dataclass(frozen=True)
class View:
    """A tensor of Wan's as we lay it out; what is indexed is read."""

    tensor: Tensor
    layout: Layout

    @property
    def shape(self) -> Shape:
        return self.layout.shape(self.tensor.shape)

    def __getitem__(self, index: Index) -> np.ndarray:
        return self.layout.read(self.tensor, index)


@dataclass(frozen=True)
class Source:
    """Where a parameter of ours comes from: tensors of Wan's, put side by side along our last axis."""

    names: tuple[str, ...]  # `*` stands for the number of the layer
    layout: Layout
    negated: bool = False


def wan_sources() -> dict[Parts, Source]:
    """Wan's tensors for each parameter of a `VideoDiT`."""

    def linear(path: str, *names: str, negated: bool = False) -> Iterator[tuple[Parts, Source]]:
        at = tuple(path.split("."))
        yield (*at, "kernel"), Source(tuple(f"{name}.weight" for name in names), TRANSPOSED, negated)
        yield (*at, "bias"), Source(tuple(f"{name}.bias" for name in names), AS_IS, negated)

    def same(path: str, name: str, layout: Layout = AS_IS):
        yield tuple(path.split(".")), Source((name,), layout)

    embedder, attention, cross = "condition_embedder", "blocks.*.attn1", "blocks.*.attn2"
    return dict(
        [
            *same("stream.embed.kernel", "patch_embedding.weight", PATCHES),
            *same("stream.embed.bias", "patch_embedding.bias"),
            *linear("stream.time.hidden", f"{embedder}.time_embedder.linear_1"),
            *linear("stream.time.out", f"{embedder}.time_embedder.linear_2"),
            *linear("stream.time.project", f"{embedder}.time_proj"),
            *linear("stream.text_in", f"{embedder}.text_embedder.linear_1"),
            *linear("stream.text_out", f"{embedder}.text_embedder.linear_2"),
            *same("stream.blocks.modulation", "blocks.*.scale_shift_table", WITHOUT_BATCH),
            *linear("stream.blocks.joint_in", *(f"{attention}.to_{part}" for part in "qkv")),
            *same("stream.blocks.query_norm.scale", f"{attention}.norm_q.weight"),
            *same("stream.blocks.key_norm.scale", f"{attention}.norm_k.weight"),
            *linear("stream.blocks.joint_out", f"{attention}.to_out.0"),
            *same("stream.blocks.cross_norm.scale", "blocks.*.norm2.weight"),
            *same("stream.blocks.cross_norm.bias", "blocks.*.norm2.bias"),
            *linear("stream.blocks.cross.query", f"{cross}.to_q"),
            *linear("stream.blocks.cross.key_value", f"{cross}.to_k", f"{cross}.to_v"),
            *same("stream.blocks.cross.query_norm.scale", f"{cross}.norm_q.weight"),
            *same("stream.blocks.cross.key_norm.scale", f"{cross}.norm_k.weight"),
            *linear("stream.blocks.cross.out", f"{cross}.to_out.0"),
            *linear("stream.blocks.up", "blocks.*.ffn.net.0.proj"),
            *linear("stream.blocks.down", "blocks.*.ffn.net.2"),
            *same("stream.head_modulation", "scale_shift_table", WITHOUT_BATCH),
            *linear("stream.head", "proj_out", negated=True),
        ]
    )


def check_config(path: Path, config: VideoModelConfig) -> None:
    """Refuse a transformer that the configuration's video stream cannot be.

    Raises:
        UserError: another class, or which setting differs.
    """
    found, video = read_json(path), config.video
    if found.get("_class_name") != "WanTransformer3DModel":
        raise UserError(
            f"{path} is of a {found.get('_class_name')}, not of a WanTransformer3DModel; give a folder of Wan's"
        )
    expected = {
        "num_layers": video.layers,
        "num_attention_heads": video.heads,
        "attention_head_dim": video.width // video.heads,
        "ffn_dim": video.feedforward,
        "patch_size": list(video.patch),
        "in_channels": config.tokenizer.channels,
        "out_channels": config.tokenizer.channels,
        "text_dim": video.text_width,
        "freq_dim": video.time_width,
        "qk_norm": "rms_norm_across_heads",
        "cross_attn_norm": True,
        "eps": 1e-6,
        "image_dim": None,
        "added_kv_proj_dim": None,
    }
    for name, value in expected.items():
        if found.get(name) != value:
            raise UserError(
                f"{path} is of another shape: {name} is {found.get(name)}, this configuration needs {value}; "
                "give other weights or change the configuration"
            )


def check_names(folder: Path, names: Iterable[str], sources: dict[Parts, Source], layers: int) -> None:
    """Refuse tensors that are not exactly those of `sources`.

    Raises:
        UserError: the first one that is missing or left over.
    """
    found = set(names)
    expected = {
        name.replace("*", str(layer))
        for source in sources.values()
        for name in source.names
        for layer in range(layers if "*" in name else 1)
    }
    missing, unexpected = sorted(expected - found), sorted(found - expected)
    if missing:
        raise UserError(
            f"{folder} lacks {len(missing)} tensors, first {missing[0]}; download the whole model"
        )
    if unexpected:
        raise UserError(
            f"{folder} has {len(unexpected)} tensors that Wan's text-and-image-to-video transformer has not, "
            f"first {unexpected[0]}; give other weights"
        )
