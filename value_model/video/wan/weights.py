"""The weights of a Wan video transformer, from a local diffusers folder, as a `VideoDiT`.

    <folder>/transformer/config.json, diffusion_pytorch_model*.safetensors   →   VideoDiT

Wan predicts ε − y at timestep 1000 (1 − τ), our `VideoDiT` y − ε at flow time τ: the last layer changes its sign.
Neither torch nor diffusers is needed. Published: Wan2.2-TI2V-5B (`Wan-AI/Wan2.2-TI2V-5B-Diffusers`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from flax import nnx
from jax.sharding import Sharding

from envs.errors import UserError
from value_model.video.config import VideoModelConfig
from value_model.video.dit import VideoDiT
from value_model.video.safetensors_folder import Tensor, map_tensors
from value_model.video.sharded_files import place_array
from value_model.video.wan.layout import Index, Parts, Source, View, check_config, check_names, wan_sources

ShardingOf = Callable[[Parts, tuple[int, ...]], Sharding]
"""Where a parameter of the whole network goes, by its place and shape: `sharding.parameter_sharding(mesh)`."""


def load_video_weights(
    folder: Path, config: VideoModelConfig, sharding: ShardingOf | None = None
) -> nnx.State:
    """State of the `VideoDiT` of `config`, float32, with the weights of `folder`/transformer.

    Every array is read straight from the files; with a sharding, only those slices that this host's
    devices hold: host memory stays at the size of the largest slice.

    Args:
        folder: of a diffusers pipeline.
        sharding: where each array goes; not given: to the default device.

    Raises:
        UserError: a file is missing or damaged; the transformer is of another class or shape than the configuration's; a
            tensor is missing, left over or of another shape.
    """
    folder = Path(folder) / "transformer"
    check_config(folder / "config.json", config)
    tensors, sources = map_tensors(folder), wan_sources()
    check_names(folder, tensors, sources, config.video.layers)
    state = nnx.state(nnx.eval_shape(lambda: VideoDiT(config.video, config.latent_shape, rngs=nnx.Rngs(0))))
    loaded = []
    for path, variable in nnx.to_flat_state(state):
        source, stacked = sources[path], "blocks" in path
        layers = [_views(source, tensors, layer) for layer in range(config.video.layers if stacked else 1)]
        _check_shape(folder, source, layers, stacked, variable.shape)
        place = None if sharding is None else sharding(("video", *path), variable.shape)
        array = place_array(variable.shape, _reader(source, layers, stacked), place)
        loaded.append((path, variable.replace(array)))
    return nnx.from_flat_state(loaded)


def _views(source: Source, tensors: dict[str, Tensor], layer: int) -> list[View]:
    return [View(tensors[name.replace("*", str(layer))], source.layout) for name in source.names]


def _reader(source: Source, layers: list[list[View]], stacked: bool) -> Callable[[Index], np.ndarray]:
    """Reads a part of the parameter in float32."""

    def read(index: Index) -> np.ndarray:
        chosen = layers[index[0]] if stacked else layers
        parts = [_cut(views, index[1:] if stacked else index) for views in chosen]
        part = np.stack(parts) if stacked else parts[0]
        return np.negative(part, out=part) if source.negated else part

    return read


def _cut(views: Sequence[View | np.ndarray], index: Index) -> np.ndarray:
    """`np.concatenate(views, -1)[index]` in float32, reading no more than that."""
    start, stop, _ = index[-1].indices(sum(view.shape[-1] for view in views))
    parts, offset = [], 0
    for view in views:
        low, high = max(start - offset, 0), min(stop - offset, view.shape[-1])
        if low < high:
            parts.append(view[(*index[:-1], slice(low, high))].astype(np.float32))
        offset += view.shape[-1]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def _check_shape(
    folder: Path, source: Source, layers: list[list[View]], stacked: bool, shape: tuple[int, ...]
) -> None:
    for number, views in enumerate(layers):
        found = (*views[0].shape[:-1], sum(view.shape[-1] for view in views))
        if found != tuple(shape[1:] if stacked else shape):
            name = source.names[0].replace("*", str(number))
            raise UserError(
                f"{folder}: the tensor {name} is of another shape than its config.json says; download it again"
            )
