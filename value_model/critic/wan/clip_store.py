"""Encoded training clips on disk: what training at the published scale reads instead of episodes.

    run.json                 what was encoded and how, written first
    text.safetensors         the embedding of each instruction
    clips-00000.safetensors  current, future (float16), values, text, episode, start, mode
    manifest.json            the shards, their clips and digests, written last

A batch reads its own clips and no more.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from envs.errors import UserError
from envs.files import inside
from value_model.critic.network import Clip
from value_model.video.safetensors_folder import map_file, read_json

VERSION = 1


class ClipStore:
    """A finished folder of clips. `len(store)` is their number.

    Args:
        folder: what `wan_encode.encode_clips` has written.

    Raises:
        UserError: encoding has not finished; a file is missing, has another size or lies outside of the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "manifest.json").is_file():
            raise UserError(
                f"{folder} holds no finished clips: manifest.json is missing; encode to the end first"
            )
        self.run = read_json(self.folder / "run.json")
        manifest = read_json(self.folder / "manifest.json")
        if manifest.get("version") != VERSION:
            raise UserError(f"{folder} holds clips of another version of this program; encode them again")
        for name, entry in manifest["files"].items():
            _check_file(inside(self.folder, name), entry)
        self.text = map_file(self.folder / "text.safetensors")["text"][...]
        self._shards = [
            map_file(self.folder / name) for name in sorted(manifest["files"]) if name != "text.safetensors"
        ]
        self._ends = np.cumsum([shard["values"].shape[0] for shard in self._shards]).tolist()

    def __len__(self) -> int:
        return self._ends[-1]

    def clip(self, index: int) -> dict[str, np.ndarray]:
        """One clip: current, future [T, h, w, C], values [h + 1], text, episode, start, mode."""
        shard = bisect.bisect_right(self._ends, index)
        row = index - (self._ends[shard - 1] if shard else 0)
        return {name: tensor[row] for name, tensor in self._shards[shard].items()}

    def read(self, indices: Sequence[int] | np.ndarray) -> Clip:
        """Clips float32, the instructions as embeddings [B, L, text_width]; in memory of the host."""
        clips = [self.clip(int(index)) for index in indices]
        return Clip(
            current=np.stack([clip["current"] for clip in clips]).astype(np.float32),  # type: ignore[arg-type]
            future=np.stack([clip["future"] for clip in clips]).astype(np.float32),  # type: ignore[arg-type]
            values=np.stack([clip["values"] for clip in clips]),  # type: ignore[arg-type]
            words=self.text[[int(clip["text"]) for clip in clips]],  # type: ignore[arg-type]
        )

    def batch(self, number: int, size: int, seed: int = 0, rows: slice = slice(None)) -> Clip:
        """Batch `number` of a training: of `size` clips, all equally likely, that (seed, number) draws, these `rows`."""
        return self.read(np.random.default_rng([seed, number]).integers(len(self), size=size)[rows])


def describe_file(path: Path) -> dict[str, object]:
    """Size and SHA-256 of a file, for the manifest."""
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def manifest_text(files: dict[str, dict[str, object]]) -> str:
    """The manifest of these files as JSON."""
    return json.dumps({"version": VERSION, "files": files}, indent=1)


def _check_file(path: Path, entry: dict) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing; encode the clips again")
    if path.stat().st_size != entry["bytes"]:
        raise UserError(f"{path} has changed since it was encoded; delete it and encode again")
