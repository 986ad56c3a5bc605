"""The weights of a model that diffusers or transformers saved: safetensors in one file or in several with an index.

Tensors are memory-mapped views: nothing is read before it is indexed, so that a model of any size can be placed on many
devices, shard by shard, with flat memory. bfloat16 is read as such, without torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

from envs.errors import UserError

DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I32": np.int32,
}


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


def map_tensors(folder: Path, stem: str = "diffusion_pytorch_model") -> dict[str, np.ndarray]:
    """Read-only memory-mapped tensors of a model's folder by name.

    Args:
        folder: holds `<stem>.safetensors`, or `<stem>.safetensors.index.json` and the shards that it names.

    Raises:
        UserError: a file is missing, cut short or of another format, or a tensor of the index is in no file.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if single.is_file():
        return map_file(single)
    if not index.is_file():
        raise UserError(
            f"the weights folder is incomplete: {folder} holds neither {single.name} nor {index.name}; "
            "download the whole model as safetensors"
        )
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError(f"{index} has no weight_map; download it again")
    shards = {name: map_file(folder / name) for name in sorted(set(places.values()))}
    absent = [name for name, place in places.items() if name not in shards[place]]
    if absent:
        raise UserError(
            f"{folder / places[absent[0]]} lacks the tensor {absent[0]} of its index; download it again"
        )
    return {name: shards[place][name] for name, place in places.items()}


def map_file(path: Path) -> dict[str, np.ndarray]:
    """Read-only memory-mapped tensors of one safetensors file: 8 bytes of length, a JSON header, then the data.

    Raises:
        UserError: the file is missing, cut short, or of another format.
    """
    if not path.is_file():
        raise UserError(f"the weights folder is incomplete: {path} is missing; download the whole model")
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if 8 + length <= size else b""
    try:
        header = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is not a whole safetensors file; download it again") from error
    header.pop("__metadata__", None)
    end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if end != size:
        raise UserError(f"{path} has {size} bytes instead of {end}: it was cut short; download it again")
    data = np.memmap(path, np.uint8, mode="r", offset=8 + length) if header else np.zeros(0, np.uint8)
    return {name: _view(path, name, data, entry) for name, entry in header.items()}


def _view(path: Path, name: str, data: np.ndarray, entry: Mapping) -> np.ndarray:
    dtype = DTYPES.get(entry["dtype"])
    if dtype is None:
        raise UserError(f"{path}: the tensor {name} is {entry['dtype']}; give weights in {', '.join(DTYPES)}")
    start, stop = entry["data_offsets"]
    if stop - start != math.prod(entry["shape"]) * np.dtype(dtype).itemsize:
        raise UserError(f"{path}: the tensor {name} does not fit its own shape; download the file again")
    return data[start:stop].view(dtype).reshape(entry["shape"])
