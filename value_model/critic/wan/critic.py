"""A trained world value model at the published scale: frames and an instruction in, values out.

    frames ─ windows ─→ Wan's VAE ┐
    instruction ─────→ Wan's T5 ──┴─→ network, in overlapping windows ─→ values

The encoders stay in their own folder; a critic that was trained on their latents refuses others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from flax import nnx

from envs.errors import UserError
from envs.files import atomic_file
from envs.types import Episode
from value_model.critic.config import WVMConfig, from_json, to_json
from value_model.critic.network import WVMNetwork
from value_model.critic.wan.windows import FORWARD, Window, starts, window_frames
from value_model.critic.windows import Sweeper, sweep_videos
from value_model.video import hosts
from value_model.video.frames import check_frames, episode_frames, resize, watch
from value_model.video.safetensors_folder import map_tensors, read_json
from value_model.video.sharded_files import place_array, save_sharded
from value_model.video.sharding import device_mesh
from value_model.video.wan.encoders import TextEncoder, VideoEncoder, fill_up, fingerprint
from value_model.video.wan.weights import ShardingOf
from value_model.video.weights import flat_arrays

ENCODE_BATCH = 8  # windows
SEQUENCES = 64  # labelled in lockstep


class WanCritic:
    """A frozen world value model on Wan's encoders (a `value_model.critic.types.SeeingCritic`).

    Args:
        weights: folder of the encoders, see `wan_encoders`.
        device: of the encoders.

    Raises:
        UserError: see `VideoEncoder`.
    """

    def __init__(
        self, config: WVMConfig, network: WVMNetwork, weights: Path, device: str | None = None
    ) -> None:
        self.config = config
        self.network = network
        self._weights = weights
        self._video = VideoEncoder(weights, config, device)
        self._text = TextEncoder(weights, config, device)
        self._texts: dict[str, np.ndarray] = {}
        self._sweeper = Sweeper(network, device_mesh())

    @property
    def cameras(self) -> tuple[str, ...]:
        """The views that `values` is given, side by side."""
        return self.config.cameras

    def values(self, frames: np.ndarray, instruction: str, fps: float | None = None) -> np.ndarray:
        """Values float32 [T] in [0, 1] of one video uint8 [T, H, W · cameras, 3], the cameras side by side.

        Args:
            fps: frames per second of the video; the configured `data_fps` if not given.

        Raises:
            UserError: frames of a wrong type or shape, or an empty instruction.
        """
        return self.values_of_many([frames], [instruction], fps)[0]

    def values_of_many(
        self, videos: Sequence[np.ndarray], instructions: Sequence[str], fps: float | None = None
    ) -> list[np.ndarray]:
        """Values of several videos, see `values`."""
        size, stride = self.config.tokenizer.image_size, self._stride(fps or self.config.data_fps)
        prepared = []
        for video, instruction in zip(videos, instructions, strict=True):
            check_frames(video)
            frames = resize(video, size, size * len(self.cameras))
            prepared.append((self._latents(frames, stride), self._words(instruction)))
        return self._values(prepared, stride)

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] of each episode, in order; only a few episodes are held at a time."""
        group: list[tuple[np.ndarray, np.ndarray]] = []
        stride = 0
        for episode in watch(episodes, self.cameras):
            now = self._stride(episode.fps)
            if group and (now != stride or len(group) * stride >= SEQUENCES):
                yield from self._values(group, stride)
                group = []
            stride = now
            frames = episode_frames(episode, self.cameras, self.config.tokenizer.image_size)
            group.append((self._latents(frames, stride), self._words(episode.instruction)))
        if group:
            yield from self._values(group, stride)

    def save(self, folder: Path) -> None:
        """Write config.json, encoders.json and the network's weights into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_sharded(folder, "model", flat_arrays({"network": self.network}))
        if not hosts.writes():
            return
        with atomic_file(folder / "encoders.json") as temporary:
            temporary.write_text(json.dumps({"fingerprint": fingerprint(self._weights)}))
        with atomic_file(folder / "config.json") as temporary:
            temporary.write_text(to_json(self.config))

    def _stride(self, fps: float) -> int:
        if not fps > 0:
            raise UserError(f"fps must be positive, not {fps}")
        return max(1, round(fps / self.config.clip.fps))

    def _latents(self, frames: np.ndarray, stride: int) -> np.ndarray:
        """Current latents [T, T', h, w, C] of the windows that start at each frame; zeros where none does."""
        horizon, token = self.config.clip.horizon, self.config.tokenizer
        made = np.zeros((len(frames), horizon // token.temporal, *self.config.latent_shape), np.float32)
        begin = np.union1d(starts(len(frames), horizon, stride, 1), np.arange(min(stride, len(frames))))
        for first in range(0, len(begin), ENCODE_BATCH):
            part = begin[first : first + ENCODE_BATCH]
            rows = [
                window_frames(Window(0, int(start), FORWARD), len(frames), horizon, stride, chunks=1)
                for start in part
            ]
            made[part] = self._video(frames[np.stack(rows)])[:, 1:]
        return made

    def _words(self, instruction: str) -> np.ndarray:
        if instruction not in self._texts:
            self._texts[instruction] = self._text(instruction)
        return self._texts[instruction]

    def _values(self, videos: list[tuple[np.ndarray, np.ndarray]], stride: int) -> list[np.ndarray]:
        words = fill_up([text for _, text in videos], self.config.video.text_tokens)
        pairs = [(latents, text) for (latents, _), text in zip(videos, words, strict=True)]
        return sweep_videos(self._sweeper, pairs, stride)


def load_wan_critic(
    folder: Path, weights: Path, sharding: ShardingOf | None = None, device: str | None = None
) -> WanCritic:
    """The critic that `WanCritic.save` wrote.

    Args:
        weights: folder of the encoders that it was trained with.
        sharding: where the network's parameters go, see `wan_weights`.
        device: of the encoders.

    Raises:
        UserError: a file is missing or damaged, or these are other encoders.
    """
    config = saved_wan_config(folder, weights)
    return WanCritic(config, saved_wan_network(folder, config, sharding), weights, device)


def saved_wan_config(folder: Path, weights: Path) -> WVMConfig:
    """The configuration of the critic that `WanCritic.save` wrote.

    Raises:
        UserError: there is none, or it was trained with other encoders than those in `weights`.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"no world value model in {folder}: config.json is missing")
    if read_json(folder / "encoders.json").get("fingerprint") != fingerprint(weights):
        raise UserError(f"{folder} was trained with other encoders than those in {weights}; give its own")
    return from_json((folder / "config.json").read_text())


def saved_wan_network(folder: Path, config: WVMConfig, sharding: ShardingOf | None = None) -> WVMNetwork:
    """The network that `WanCritic.save` wrote, under a configuration of the same sizes.

    Raises:
        UserError: a file is missing or damaged, or is of other sizes.
    """
    tensors = map_tensors(folder, "model")
    graph, state = nnx.split(nnx.eval_shape(lambda: WVMNetwork(config, rngs=nnx.Rngs(0))))
    loaded = []
    for path, leaf in nnx.to_flat_state(state):
        name = ".".join(["network", *map(str, path)])
        if name not in tensors or tensors[name].shape != leaf.shape:
            raise UserError(f"{folder} does not fit its own config.json at {name}; train the model again")
        place = None if sharding is None else sharding(path, leaf.shape)
        loaded.append((path, leaf.replace(place_array(leaf.shape, tensors[name].__getitem__, place))))
    return nnx.merge(graph, nnx.from_flat_state(loaded))
