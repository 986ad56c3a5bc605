"""The released world model's checkpoint, a local file of torch, as a `WorldGym`.

    <file>.pt  {"model", "ema", "optimizer", "step"}   →   WorldGym

Weights are read where they lie in the file, one parameter at a time; nothing but tensors is ever unpickled. The released
weights carry no licence: they are a file that a user brings.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.errors import UserError
from value_model.imagination.worldgym_config import WorldGymConfig
from value_model.imagination.worldgym_dynamics import WorldGym
from value_model.video.precision import compute_copy

Parts = tuple[Any, ...]
"""Where a parameter is in a `WorldGym`."""

HALVES = {"spatial": "s_block", "temporal": "t_block"}
LINEARS = {
    "embed": "x_proj",
    "time.hidden": "timestep_mlp.0",
    "time.out": "timestep_mlp.2",
    "act": "action_embedder",
    "final": "final_layer.adaLN_modulation.1",
    "head": "final_layer.linear",
    "adaptive": "adaLN_modulation.1",
    "qkv": "attn.qkv_proj",
    "out": "attn.out_proj",
    "up": "ffwd.0",
    "down": "ffwd.2",
}


def load_released(file: Path, config: WorldGymConfig) -> WorldGym:
    """The averaged weights (`ema`) of the file if it has them, else `model`, in the precision of the configuration.

    Raises:
        UserError: torch is not installed; the file is missing, damaged, holds something else than tensors, or weights of
            another network: which name is missing or left over, or which has another shape.
    """
    tensors = _read(Path(file))
    graph, state = nnx.split(nnx.eval_shape(lambda: WorldGym(config, rngs=nnx.Rngs(0))))
    shapes = {path: tuple(variable.shape) for path, variable in nnx.to_flat_state(state)}
    _check(Path(file), tensors, _layout(shapes, config))
    filled = [
        (path, variable.replace(jnp.asarray(_parameter(path, tensors, config))))
        for path, variable in nnx.to_flat_state(state)
    ]
    return nnx.merge(graph, compute_copy(nnx.from_flat_state(filled), config.precision))


def released_arrays(model: WorldGym) -> dict[str, np.ndarray]:
    """The parameters float32 under the names and in the shapes of the released checkpoint."""
    arrays = {}
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        value = np.asarray(variable[...], np.float32)
        rows = value if "blocks" in path else value[None]
        for layer, row in enumerate(rows):
            arrays[_name(path, layer)] = _theirs(path, row, model.config)
    return arrays


def _read(file: Path) -> Mapping[str, Any]:
    """The tensors of the file by name."""
    try:
        import torch
    except ImportError as error:
        raise UserError(
            "the released world model's file is torch's: pip install 'policy-extraction[torch]'"
        ) from error
    if not file.is_file():
        raise UserError(f"no checkpoint {file}; give the path of the released .pt file")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"{file} is not a checkpoint of tensors alone ({first}); give the released .pt file"
        ) from error
    weights = next((content[name] for name in ("ema", "model") if _holds(content, name)), None)
    if weights is None:
        raise UserError(
            f"{file} has neither `ema` nor `model`; give the released checkpoint as it was downloaded"
        )
    strange = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise UserError(f"{file}: {strange[0]} is not a tensor; give the released checkpoint")
    return weights


def _holds(content: object, name: str) -> bool:
    return isinstance(content, dict) and isinstance(content.get(name), dict)


def _check(file: Path, tensors: Mapping[str, Any], layout: dict[str, tuple[int, ...]]) -> None:
    """Refuse names and shapes other than those of the layout."""
    missing = [name for name in layout if name not in tensors]
    extra = [name for name in tensors if name not in layout]
    if missing:
        raise UserError(
            f"{file} lacks {len(missing)} tensors, first {missing[0]}; it is of another network or preset"
        )
    if extra:
        raise UserError(
            f"{file} has {len(extra)} tensors too many, first {extra[0]}; it is of another network or preset"
        )
    for name, shape in layout.items():
        found = tuple(tensors[name].shape)
        if found != shape:
            raise UserError(
                f"{file}: {name} is {list(found)}, this preset needs {list(shape)}; choose its own preset"
            )


def _layout(shapes: dict[Parts, tuple[int, ...]], config: WorldGymConfig) -> dict[str, tuple[int, ...]]:
    """{name: shape} of all the tensors of a checkpoint, from the shapes of our parameters."""
    expected = {}
    for path, shape in shapes.items():
        one = shape[1:] if "blocks" in path else shape
        theirs = (
            (one[-1], config.latent_shape[2], config.patch, config.patch) if _is_patch(path) else one[::-1]
        )
        for layer in range(config.layers if "blocks" in path else 1):
            expected[_name(path, layer)] = theirs
    return expected


def _parameter(path: Parts, tensors: Mapping[str, Any], config: WorldGymConfig) -> np.ndarray:
    """Our parameter, float32."""
    if "blocks" in path:
        return np.stack([_ours(path, tensors[_name(path, layer)]) for layer in range(config.layers)])
    return _ours(path, tensors[_name(path, 0)])


def _ours(path: Parts, tensor: Any) -> np.ndarray:
    array = tensor.float().numpy()
    if _is_patch(path):  # a convolution [W, C, p, p] as the kernel [p·p·C, W] of a linear layer
        return array.transpose(2, 3, 1, 0).reshape(-1, len(array))
    return array.T


def _theirs(path: Parts, row: np.ndarray, config: WorldGymConfig) -> np.ndarray:
    if not _is_patch(path):
        return np.ascontiguousarray(row.T)
    patches = row.reshape(config.patch, config.patch, config.latent_shape[2], -1)
    return np.ascontiguousarray(patches.transpose(3, 2, 0, 1))


def _is_patch(path: Parts) -> bool:
    return "embed" in path and "kernel" in path


def _name(path: Parts, layer: int) -> str:
    """What the checkpoint calls a parameter of ours: network.<part>.kernel or network.blocks.<half>.<part>.kernel."""
    parts = list(_words(path))
    begin = ""
    if parts[0] == "blocks":
        begin, parts = f"blocks.{layer}.{HALVES[parts[1]]}.", parts[2:]
    leaf = {"kernel": "weight", "bias": "bias"}[parts[-1]]
    return f"{begin}{LINEARS['.'.join(parts[:-1])]}.{leaf}"


def _words(path: Parts) -> Iterator[str]:
    """The path without the dynamics' own part, `network`."""
    return (str(part) for part in path[1:])
