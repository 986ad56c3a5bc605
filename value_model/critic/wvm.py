"""The trained critic: frames and an instruction in, values out. Saved as safetensors and JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from flax import nnx
from jax.sharding import Mesh

from envs.errors import UserError
from envs.files import atomic_file, save_arrays
from envs.text import word_ids
from envs.types import Episode
from value_model.critic.config import InferenceConfig, WVMConfig, from_json, to_json
from value_model.critic.network import ValueNetwork, WVMNetwork
from value_model.critic.windows import Sweeper, sweep_videos
from value_model.video import hosts
from value_model.video.encoder import FrameEncoder
from value_model.video.sharding import device_mesh
from value_model.video.tokenizer import Tokenizer
from value_model.video.weights import blank, fill_arrays, flat_arrays

SEQUENCES = 512  # labelled in lockstep


class WVM:
    """A frozen world value model (a `value_model.critic.types.SeeingCritic`), on one device or on those of a mesh."""

    def __init__(
        self, config: WVMConfig, tokenizer: Tokenizer, network: ValueNetwork, mesh: Mesh | None = None
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.network = network
        self.encoder = FrameEncoder(config, config.clip.fps, tokenizer, mesh)
        self._sweeper = Sweeper(network, mesh)

    @property
    def parts(self) -> dict[str, nnx.Module]:
        """What is trained and saved."""
        return {"tokenizer": self.tokenizer, "network": self.network}

    @property
    def cameras(self) -> tuple[str, ...]:
        """The views that `values` is given, side by side."""
        return self.config.cameras

    def values(self, frames: np.ndarray, instruction: str, fps: float | None = None) -> np.ndarray:
        """Values float32 [T] in [0, 1] of one video, see `values_of_many`."""
        return self.values_of_many([frames], [instruction], fps)[0]

    def values_of_many(
        self, videos: Sequence[np.ndarray], instructions: Sequence[str], fps: float | None = None
    ) -> list[np.ndarray]:
        """Values of several videos at once.

        Args:
            videos: uint8 [T, H, W · cameras, 3] each, the configured cameras side by side; resized if need be.
            instructions: what the robot was told to do, one for each video.
            fps: frames per second of the videos; the configured `data_fps` if not given.

        Returns:
            float32 [T] in [0, 1] for each video.

        Raises:
            UserError: frames of a wrong type or shape, or an empty instruction.
        """
        words = [word_ids(instruction) for instruction in instructions]
        latents = self.encoder.encode_videos(videos)
        stride = self.encoder.stride(self.config.data_fps if fps is None else fps)
        return self.values_of_latents(list(zip(latents, words, strict=True)), stride)

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] of each episode, in order; only a few episodes are held at a time."""
        group: list[tuple[np.ndarray, np.ndarray]] = []
        stride = 0
        for latents, words, now in self.encoder.episodes(episodes):
            if group and (now != stride or len(group) * stride >= SEQUENCES):
                yield from self.values_of_latents(group, stride)
                group = []
            stride = now
            group.append((latents, words))
        if group:
            yield from self.values_of_latents(group, stride)

    def save(self, folder: Path) -> None:
        """Write model.safetensors and config.json into `folder`; of several hosts that are together, the first does."""
        if not hosts.writes():
            return
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / "config.json") as temporary:
            temporary.write_text(to_json(self.config))
        arrays = {name: np.asarray(value) for name, value in flat_arrays(self.parts).items()}
        save_arrays(folder / "model.safetensors", arrays)

    def values_of_latents(self, videos: list[tuple[np.ndarray, np.ndarray]], stride: int) -> list[np.ndarray]:
        """Values float32 [T] of videos given as latents [T, h, w, C] and word ids [L].

        Every phase of a video is a sequence at the model's rate, `stride` frames a step.
        """
        return sweep_videos(self._sweeper, videos, stride)


def load_wvm(folder: Path, inference: InferenceConfig | None = None) -> WVM:
    """The critic that `WVM.save` wrote, on all devices.

    Args:
        inference: how to read values off it, if not as it was saved.

    Raises:
        UserError: a file is missing or damaged, or is of another configuration.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"no world value model in {folder}: config.json is missing")
    config = from_json((folder / "config.json").read_text())
    if inference is not None:
        config = dataclasses.replace(config, inference=inference)
    tokenizer, network = blank(Tokenizer, config.tokenizer), blank(WVMNetwork, config)
    fill_arrays({"tokenizer": tokenizer, "network": network}, folder / "model.safetensors")
    return WVM(config, tokenizer, network, device_mesh())
