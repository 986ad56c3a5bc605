"""The weights of a model that diffusers or transformers saved: safetensors in one file or in several with an index.

Nothing is read before it is indexed, so that a model of any size can be placed on many devices, shard by shard, with flat
memory. bfloat16 is read as such, without torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from envs.errors import UserError
from envs.files import inside

KINDS = ("F64", "F32", "F16", "BF16", "I32")


class Tensor:
    """A tensor of a file. Indexed by integers and slices it gives that part as an array, and reads nothing else."""

    def __init__(self, slices: Any) -> None:
        self._slices = slices
        self.shape: tuple[int, ...] = tuple(slices.get_shape())
        self.kind: str = slices.get_dtype()

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._slices[index]


def read_json(path: Path) -> dict:
    """A JSON object of a model's folder.

    Raises:
        UserError: no such file, or not a JSON object.
    """
    if not path.is_file():
        raise UserError(f"the weights folder is incomplete: {path} is missing; download the whole model")
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error}); download it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object; download it again")
    return content


def map_tensors(folder: Path, stem: str = "diffusion_pytorch_model") -> dict[str, Tensor]:
    """The tensors of a model's folder by name.

    Args:
        folder: holds `<stem>.safetensors`, or `<stem>.safetensors.index.json` and the shards that it names.

    Raises:
        UserError: a file is missing, cut short, of another format or outside of the folder, or a tensor of the index is
            in no file.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if single.is_file():
        return map_file(single)
    if not index.is_file():
        raise UserError(
            f"the weights folder is incomplete: {folder} holds neither {single.name} nor {index.name}; "
            "download the whole model as safetensors"
        )
    places = check_index(folder, index)
    shards = {name: map_file(folder / name) for name in sorted(set(places.values()))}
    absent = [name for name, place in places.items() if name not in shards[place]]
    if absent:
        raise UserError(
            f"{folder / places[absent[0]]} lacks the tensor {absent[0]} of its index; download it again"
        )
    return {name: shards[place][name] for name, place in places.items()}


def map_file(path: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file.

    Raises:
        UserError: the file is missing, cut short, or of another format; a tensor is of a type that is not read here.
    """
    if not path.is_file():
        raise UserError(f"the weights folder is incomplete: {path} is missing; download the whole model")
    try:
        file = safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}): it may have been cut short; download it again"
        ) from error
    tensors = {name: Tensor(file.get_slice(name)) for name in file.keys()}  # noqa: SIM118
    for name, tensor in tensors.items():
        if tensor.kind not in KINDS:
            raise UserError(f"{path}: the tensor {name} is {tensor.kind}; give weights in {', '.join(KINDS)}")
    return tensors


def check_index(folder: Path, index: Path) -> dict[str, str]:
    """{tensor: file} of an index.

    Raises:
        UserError: it is damaged, or names a file outside of `folder`.
    """
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError(f"{index} has no weight_map; download it again")
    for name in places.values():
        inside(folder, name)
    return places
