"""The trained critic: frames and an instruction in, values out. Saved as safetensors and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.errors import UserError
from envs.files import atomic_file, load_arrays, save_arrays
from envs.text import word_ids
from envs.types import Episode
from value_model.config import WVMConfig, from_json, to_json
from value_model.frames import check_frames, episode_frames, resize
from value_model.tokenizer import Tokenizer
from value_model.windows import sweep
from value_model.wvm import WVMNetwork

ENCODE_BATCH = 128
SEQUENCES = 512  # labelled in lockstep


class WVM:
    """A frozen world value model (a `value_model.types.ValueModel`)."""

    def __init__(self, config: WVMConfig, tokenizer: Tokenizer, network: WVMNetwork) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.network = network
        self._encode = nnx.jit(lambda tokenizer, views: tokenizer.encode(views))
        self._sweep = nnx.jit(sweep)

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
        size, count = self.config.tokenizer.image_size, len(self.config.cameras)
        for video in videos:
            check_frames(video)
        latents = [self.encode(resize(video, size, size * count)) for video in videos]
        return self._sweep_all(latents, words, self.stride(fps or self.config.data_fps))

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] of each episode, in order; only a few episodes are held at a time."""
        group: list[tuple[np.ndarray, np.ndarray, int]] = []
        for episode in episodes:
            frames = episode_frames(episode, self.config.cameras, self.config.tokenizer.image_size)
            group.append((self.encode(frames), word_ids(episode.instruction), self.stride(episode.fps)))
            if len(group) * group[0][2] >= SEQUENCES:
                yield from self._label_group(group)
                group = []
        yield from self._label_group(group)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Latents float32 [T, h, w, C] of frames uint8 [T, size, size · cameras, 3]; the views' latents side by side."""
        count = len(self.config.cameras)
        views = np.concatenate(np.split(frames, count, axis=2))
        parts = []
        for start in range(0, len(views), ENCODE_BATCH):
            part = views[start : start + ENCODE_BATCH]
            padded = np.concatenate([part, np.zeros((ENCODE_BATCH - len(part), *part.shape[1:]), np.uint8)])
            parts.append(np.asarray(self._encode(self.tokenizer, padded))[: len(part)])
        return np.concatenate(np.split(np.concatenate(parts), count), axis=2)

    def stride(self, fps: float) -> int:
        """How many frames of a video at `fps` the model steps at a time."""
        if not fps > 0:
            raise UserError(f"fps must be positive, not {fps}")
        return max(1, round(fps / self.config.clip.fps))

    def save(self, folder: Path) -> None:
        """Write model.safetensors and config.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / "config.json") as temporary:
            temporary.write_text(to_json(self.config))
        save_arrays(
            folder / "model.safetensors", {name: np.asarray(value) for name, value in _flat(self).items()}
        )

    def _label_group(self, group: list[tuple[np.ndarray, np.ndarray, int]]) -> Iterator[np.ndarray]:
        for stride in sorted({stride for _, _, stride in group}):
            assert len({item[2] for item in group}) == 1, stride
        if group:
            latents, words, strides = zip(*group, strict=True)
            yield from self._sweep_all(list(latents), list(words), strides[0])

    def _sweep_all(self, latents: list[np.ndarray], words: list[np.ndarray], stride: int) -> list[np.ndarray]:
        """Every phase of every video is one sequence at the model's rate; all are swept in lockstep."""
        phases = [
            (video, phase)
            for video in range(len(latents))
            for phase in range(min(stride, len(latents[video])))
        ]
        lengths = np.array([len(latents[video][phase::stride]) for video, phase in phases], np.int32)
        steps = max(self.config.clip.horizon, -(-int(lengths.max()) // 8) * 8)
        rows = np.zeros((len(phases), steps), np.int32)
        offsets = np.cumsum([0, *(len(video) for video in latents)])
        for row, (video, phase) in enumerate(phases):
            index = phase + stride * np.minimum(np.arange(steps), lengths[row] - 1)
            rows[row] = offsets[video] + index
        swept = np.asarray(
            self._sweep(
                self.network,
                jnp.asarray(np.concatenate(latents)),
                jnp.asarray(rows),
                jnp.asarray(lengths),
                jnp.asarray(np.stack([words[video] for video, _ in phases])),
            )
        )
        flat = np.zeros(offsets[-1], np.float32)
        for row, length in enumerate(lengths):
            flat[rows[row, :length]] = swept[row, :length]
        return [flat[start:end] for start, end in zip(offsets[:-1], offsets[1:], strict=True)]


def load_wvm(folder: Path) -> WVM:
    """The critic that `WVM.save` wrote.

    Raises:
        UserError: a file is missing or damaged, or is of another configuration.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"no world value model in {folder}: config.json is missing")
    config = from_json((folder / "config.json").read_text())
    arrays, _ = load_arrays(folder / "model.safetensors")
    critic = WVM(config, Tokenizer(config.tokenizer, rngs=nnx.Rngs(0)), WVMNetwork(config, rngs=nnx.Rngs(0)))
    expected = _flat(critic)
    wrong = sorted(set(expected) ^ set(arrays)) or sorted(
        name for name, value in expected.items() if value.shape != arrays[name].shape
    )
    if wrong:
        raise UserError(f"{folder} does not fit its own config.json at {wrong[0]}; train the model again")
    for part, module in (("tokenizer", critic.tokenizer), ("network", critic.network)):
        state = nnx.state(module)
        flat = {path: jnp.asarray(arrays[_name(part, path)]) for path, _ in nnx.to_flat_state(state)}
        nnx.update(module, nnx.from_flat_state({path: flat[path] for path in flat}))
    return critic


def _flat(critic: WVM) -> dict[str, jax.Array]:
    """Every array of the critic by its dotted name."""
    return {
        _name(part, path): variable[...]
        for part, module in (("tokenizer", critic.tokenizer), ("network", critic.network))
        for path, variable in nnx.to_flat_state(nnx.state(module))
    }


def _name(part: str, path: tuple) -> str:
    return ".".join([part, *map(str, path)])
