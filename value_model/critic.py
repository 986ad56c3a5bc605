"""The trained critic: frames and an instruction in, values out. Saved as safetensors and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from flax import nnx

from envs.errors import UserError
from envs.files import atomic_file, save_arrays
from envs.text import word_ids
from envs.types import Episode
from value_model.config import WVMConfig, from_json, to_json
from value_model.encoder import FrameEncoder
from value_model.frames import episode_frames, watch
from value_model.tokenizer import Tokenizer
from value_model.weights import fill_arrays, flat_arrays
from value_model.windows import sweep
from value_model.wvm import WVMNetwork

SEQUENCES = 512  # labelled in lockstep
PAD = 8  # lengths are rounded up to a multiple of it, so that few shapes are compiled


class WVM:
    """A frozen world value model (a `value_model.types.ValueModel`)."""

    def __init__(self, config: WVMConfig, tokenizer: Tokenizer, network: WVMNetwork) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.network = network
        self.encoder = FrameEncoder(config, tokenizer)
        self._sweep = nnx.jit(sweep)

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
        return self._sweep_all(list(zip(latents, words, strict=True)), stride)

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] of each episode, in order; only a few episodes are held at a time."""
        group: list[tuple[np.ndarray, np.ndarray]] = []
        stride = 0
        for episode in watch(episodes, self.config.cameras):
            frames = episode_frames(episode, self.config.cameras, self.config.tokenizer.image_size)
            if group and (self.encoder.stride(episode.fps) != stride or len(group) * stride >= SEQUENCES):
                yield from self._sweep_all(group, stride)
                group = []
            stride = self.encoder.stride(episode.fps)
            group.append((self.encoder.encode(frames), word_ids(episode.instruction)))
        if group:
            yield from self._sweep_all(group, stride)

    def save(self, folder: Path) -> None:
        """Write model.safetensors and config.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / "config.json") as temporary:
            temporary.write_text(to_json(self.config))
        arrays = {name: np.asarray(value) for name, value in flat_arrays(self.parts).items()}
        save_arrays(folder / "model.safetensors", arrays)

    def _sweep_all(self, videos: list[tuple[np.ndarray, np.ndarray]], stride: int) -> list[np.ndarray]:
        """Values of videos given as (latents, word ids). Every phase of a video is a sequence at the model's rate."""
        latents = np.concatenate([video for video, _ in videos])
        sequences, words, first = [], [], 0
        for video, ids in videos:
            phases = [np.arange(first + phase, first + len(video), stride) for phase in range(stride)]
            sequences += [phase for phase in phases if len(phase)]
            words += [ids for phase in phases if len(phase)]
            first += len(video)
        lengths = np.array([len(sequence) for sequence in sequences], np.int32)
        steps = max(self.config.clip.horizon, -(-int(lengths.max()) // PAD) * PAD)
        last = lengths[:, None] - 1
        rows = np.stack(
            [
                sequence[np.minimum(np.arange(steps), end)]
                for sequence, end in zip(sequences, last, strict=True)
            ]
        )
        swept = np.asarray(
            self._sweep(self.network, latents, rows.astype(np.int32), lengths, np.stack(words))
        )
        values = np.zeros(len(latents), np.float32)
        inside = np.arange(steps) <= last
        values[rows[inside]] = swept[inside]
        return np.split(values, np.cumsum([len(video) for video, _ in videos])[:-1])


def load_wvm(folder: Path) -> WVM:
    """The critic that `WVM.save` wrote.

    Raises:
        UserError: a file is missing or damaged, or is of another configuration.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"no world value model in {folder}: config.json is missing")
    config = from_json((folder / "config.json").read_text())
    critic = WVM(config, Tokenizer(config.tokenizer, rngs=nnx.Rngs(0)), WVMNetwork(config, rngs=nnx.Rngs(0)))
    fill_arrays(critic.parts, folder / "model.safetensors")
    return critic
