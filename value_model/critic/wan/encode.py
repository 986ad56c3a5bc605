"""Encoding data sets for training at the published scale, once: videos by Wan's VAE, instructions by its T5.

    stores ─ windows, rewound ─→ VAE ─→ current and future latents ┐
    instructions ─→ T5 ─→ embeddings, one for each instruction     ┴─→ a folder of clips (`clip_store.ClipStore`)

A window is a prefix frame, h current and h future frames at the model's frame rate; the VAE makes one latent of the
prefix and one of every four frames after it, and the prefix's is dropped. Every window is encoded in the direction that
its seed draws for it, so that rewinding costs nothing in training; published (arXiv 2606.24742) is a new draw each time
that a window is seen, which `variants` comes near to.

A killed run goes on with the first shard that is not there, and several processes may share the work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file, save_arrays
from envs.store import Store
from value_model.critic.config import WVMConfig
from value_model.critic.train import training_values
from value_model.critic.wan.clip_store import ClipStore, describe_file, manifest_text
from value_model.critic.wan.windows import Window, draw_windows, window_frames
from value_model.video.frames import episode_frames
from value_model.video.recipe import claim
from value_model.video.wan.encoders import TextEncoder, VideoEncoder, clean, fill_up, fingerprint

SHARD_CLIPS = 4096  # or a little more: episodes stay whole
BATCH = 8  # clips that the VAE encodes at a time

Progress = Callable[[int, int], object]
"""Called as progress(clips done, clips in all)."""


def encode_clips(
    stores: Sequence[Store],
    weights: Path,
    config: WVMConfig,
    folder: Path,
    *,
    seed: int = 0,
    variants: int = 1,
    every: int | None = None,
    worker: tuple[int, int] = (0, 1),
    device: str | None = None,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> ClipStore | None:
    """Write the clips of all episodes of `stores` into `folder`.

    Args:
        weights: folder of a diffusers pipeline with vae, text_encoder and tokenizer.
        config: of the world value model to be trained; cameras, picture size, horizon, frame rate and rewinding count.
        seed: draws the direction of every window.
        variants: how many draws of each window are encoded.
        every: frames of the data from one window to the next; not given: one step of the model's frame rate (published).
        worker: (number, count): this process encodes every count-th shard, from its number on.
        device, batch: of the encoders, see `wan_encoders`.

    Returns:
        The finished store; None while other workers' shards are missing.

    Raises:
        UserError: no extra `wan`; incomplete weights; an episode lacks a camera; the folder holds other clips.
    """
    if len({store.fps for store in stores}) != 1:
        raise UserError("clips need data of one frame rate; encode each rate into a folder of its own")
    stride = max(1, round(stores[0].fps / config.clip.fps))
    every = stride if every is None else every
    if config.clip.focus:
        raise UserError("encoded windows are all equally likely in training: set clip.focus=0")
    if config.clip.mismatched:
        raise UserError("encoded windows keep their own instruction: set clip.mismatched=0")
    if variants < 1 or every < 1:
        raise UserError("variants and every must be at least 1")
    windows = _all_windows(stores, config, stride, every, variants, seed)
    shards = _shards(windows)
    instructions = sorted({_instruction(stores, index) for index in range(len(windows))})
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "data": [_identity(store) for store in stores],
        "settings": encoding_settings(config, weights),
        "instructions": instructions,
        "seed": seed,
        "variants": variants,
        "every": every,
    }
    claim(folder, run)
    if not (folder / "text.safetensors").is_file():
        encoder = TextEncoder(weights, config, device)
        texts = fill_up([encoder(text) for text in instructions], config.video.text_tokens)
        save_arrays(folder / "text.safetensors", {"text": texts})
        del encoder
    mine = [
        number for number in range(worker[0], len(shards), worker[1]) if not _path(folder, number).is_file()
    ]
    video = VideoEncoder(weights, config, device) if mine else None
    done, total = 0, sum(len(windows[index]) for number in mine for index in shards[number])
    for number in mine:
        assert video is not None
        parts = []
        for index in shards[number]:
            parts.append(
                _encode_episode(stores, index, windows[index], video, config, stride, instructions, batch)
            )
            done += len(windows[index])
            if progress is not None:
                progress(done, total)
        merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        save_arrays(_path(folder, number), merged)
    return _finish(folder, len(shards))


def _encode_episode(
    stores: Sequence[Store],
    index: int,
    windows: list[Window],
    video: VideoEncoder,
    config: WVMConfig,
    stride: int,
    instructions: list[str],
    batch: int,
) -> dict[str, np.ndarray]:
    """The clips of one episode as the arrays of a shard."""
    store, number = _locate(stores, index)
    wanted = [camera for camera in config.cameras if camera in store.cameras]
    episode = store.episode(number, wanted)
    frames = episode_frames(episode, config.cameras, config.tokenizer.image_size)
    values, horizon = training_values(episode, config.clip.marked), config.clip.horizon
    rows = np.stack([window_frames(window, len(episode), horizon, stride) for window in windows])
    latents = np.concatenate(
        [video(frames[rows[first : first + batch]]) for first in range(0, len(rows), batch)]
    )
    middle = 1 + horizon // config.tokenizer.temporal
    count = len(windows)
    return {
        "current": latents[:, 1:middle].astype(np.float16),
        "future": latents[:, middle:].astype(np.float16),
        "values": values[rows[:, : horizon + 1]],
        "text": np.full(count, instructions.index(clean(episode.instruction)), np.int32),
        "episode": np.full(count, index, np.int32),
        "start": np.array([window.start for window in windows], np.int32),
        "mode": np.array([window.mode for window in windows], np.int32),
    }


def _all_windows(
    stores: Sequence[Store], config: WVMConfig, stride: int, every: int, variants: int, seed: int
) -> list[list[Window]]:
    """The windows of every episode of all stores."""
    lengths = [store.episode_info(number).length for store in stores for number in range(len(store))]
    return [
        draw_windows(index, length, config.clip, stride, every, variants, seed)
        for index, length in enumerate(lengths)
    ]


def _shards(windows: list[list[Window]]) -> list[list[int]]:
    """Episodes, in order, of each shard."""
    shards: list[list[int]] = [[]]
    held = 0
    for index, clips in enumerate(windows):
        if held >= SHARD_CLIPS:
            shards.append([])
            held = 0
        shards[-1].append(index)
        held += len(clips)
    return shards


def _locate(stores: Sequence[Store], index: int) -> tuple[Store, int]:
    for store in stores:
        if index < len(store):
            return store, index
        index -= len(store)
    raise IndexError(index)


def _instruction(stores: Sequence[Store], index: int) -> str:
    store, number = _locate(stores, index)
    return clean(store.episode_info(number).instruction)


def encoding_settings(config: WVMConfig, weights: Path) -> dict[str, Any]:
    """What of a configuration, and which encoders, the clips depend on, as JSON has it."""
    clip = config.clip
    return {
        "encoders": fingerprint(weights),
        "cameras": list(config.cameras),
        "image_size": config.tokenizer.image_size,
        "text_tokens": config.video.text_tokens,
        "horizon": clip.horizon,
        "fps": clip.fps,
        "rewind": clip.rewind,
        "plateau": clip.plateau,
        "marked": clip.marked,
    }


def _identity(store: Store) -> str:
    """A digest of a store's metadata, which holds its episodes and the statistics of their frames."""
    total = hashlib.sha256()
    for path in sorted((store.folder / "meta").rglob("*")):
        if path.is_file():
            total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def _path(folder: Path, number: int) -> Path:
    return folder / f"clips-{number:05d}.safetensors"


def _finish(folder: Path, shards: int) -> ClipStore | None:
    """Write the manifest once all shards are there."""
    paths = [folder / "text.safetensors", *(_path(folder, number) for number in range(shards))]
    if not all(path.is_file() for path in paths):
        return None
    if not (folder / "manifest.json").is_file():
        with atomic_file(folder / "manifest.json") as temporary:
            temporary.write_text(manifest_text({path.name: describe_file(path) for path in paths}))
    return ClipStore(folder)
