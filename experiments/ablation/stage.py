"""Stages of the ablations: latents of all frames once, one training for each variant and seed, its figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.files import atomic_file, load_arrays, save_arrays
from envs.store import EpisodeInfo, Store
from envs.text import word_ids
from experiments.lab.artifacts import SCRATCH, Artifact, Artifacts
from experiments.lab.progress import Bars, announce, bar
from experiments.lab.tracking import Tracker
from experiments.stages.data import Data
from value_model.critic.clips import LatentData
from value_model.critic.config import ClipConfig, InferenceConfig, WVMConfig
from value_model.critic.metrics.episodes import Views, collect_scores, is_expert
from value_model.critic.network import WVMNetwork
from value_model.critic.train import encode_episodes, train_network
from value_model.critic.wvm import WVM, load_wvm
from value_model.video.encoder import FrameEncoder
from value_model.video.frames import episode_frames

VERSION = 2
TRAINING, VIDEOS = "training.safetensors", "videos.safetensors"
METRICS = ("hesitation_rmse", "retry_voc", "expert_voc", "static_voc")


@dataclass(frozen=True)
class Latents:
    """A frozen tokenizer's latents, on disk. digest: of all that they were made from."""

    folder: Path
    digest: str


def training_latents(artifacts: Artifacts, critic: WVM, origin: str, data: Sequence[Data]) -> Latents:
    """Latents and values of the mixture, and which frames are of an episode with a marked lapse."""

    def build(folder: Path) -> None:
        stores = [part.open() for part in data]
        encoder = FrameEncoder(critic.config, ClipConfig().fps, critic.tokenizer)
        found, stride = encode_episodes(encoder, stores)
        infos = [store.episode_info(index) for store in stores for index in range(len(store))]
        lapse = np.repeat([bool(info.segments) for info in infos], [info.length for info in infos])
        arrays = {name: np.asarray(array) for name, array in found._asdict().items()} | {"lapse": lapse}
        save_arrays(folder / TRAINING, arrays, {"stride": str(stride)})

    inputs = {"critic": origin} | {str(number): part.digest for number, part in enumerate(data)}
    made = announce(artifacts.make("latents", VERSION, "training", inputs, build), "training")
    return Latents(made.folder, made.digest)


def load_latents(latents: Latents, marked: bool) -> tuple[LatentData, int]:
    """What `training_latents` wrote, on the device, and the stride; without the values of lapses unless `marked`."""
    arrays, facts = load_arrays(latents.folder / TRAINING)
    lapse = arrays.pop("lapse")
    if not marked:
        arrays["values"] = np.where(lapse, np.float32(np.nan), arrays["values"])
        arrays["lapses"] = arrays["lapses"][:0]
    data = LatentData(**{name: jnp.asarray(array) for name, array in arrays.items()})
    return data, int(facts["stride"])


def video_latents(
    artifacts: Artifacts, critic: WVM, origin: str, store: Store, digest: str, infos: Sequence[EpisodeInfo]
) -> Latents:
    """Latents of the benchmark's trajectories."""

    def build(folder: Path) -> None:
        cameras, size = list(critic.config.cameras), critic.config.tokenizer.image_size
        arrays = {}
        with bar("encode benchmark", len(infos), "episodes") as shown:
            for info in infos:
                frames = episode_frames(store.episode(info.index, cameras), critic.config.cameras, size)
                arrays[str(info.index)] = critic.encoder.encode(frames)
                shown.update()
        save_arrays(folder / VIDEOS, arrays)

    chosen = {"episodes": [info.index for info in infos]}
    made = announce(
        artifacts.make("latents", VERSION, chosen, {"critic": origin, "data": digest}, build), "benchmark"
    )
    return Latents(made.folder, made.digest)


def train_variant(
    artifacts: Artifacts, config: WVMConfig, critic: WVM, latents: Latents, seed: int, tracker: Tracker
) -> Artifact:
    """A value model of this configuration from the latents; how it is read off does not matter here."""
    config = replace(config, inference=InferenceConfig())

    def build(folder: Path) -> None:
        data, stride = load_latents(latents, config.clip.marked)
        with Bars(tracker, "ablate") as bars:
            network = train_network(
                WVMNetwork(config, rngs=nnx.Rngs(seed)),
                data,
                stride,
                folder / SCRATCH / "network",
                seed,
                bars.update,
            )
        WVM(config, critic.tokenizer, network).save(folder / "wvm")

    recipe = {"model": config, "seed": seed}
    return artifacts.make("ablation", VERSION, recipe, {"latents": latents.digest}, build)


def measure_variant(
    artifacts: Artifacts,
    trained: Artifact,
    inference: InferenceConfig,
    videos: Latents,
    fps: float,
    infos: Sequence[EpisodeInfo],
) -> Mapping[str, float]:
    """Means of `METRICS` over the trajectories; what is undefined does not count."""

    def build(folder: Path) -> None:
        critic = load_wvm(trained.folder / "wvm", inference)
        arrays, _ = load_arrays(videos.folder / VIDEOS)
        found = _scores(critic, arrays, fps, infos)
        with atomic_file(folder / "metrics.json") as temporary:
            temporary.write_text(json.dumps(found))

    inputs = {"critic": trained.digest, "videos": videos.digest}
    made = artifacts.make("ablation_metrics", VERSION, {"inference": inference}, inputs, build)
    return json.loads((made.folder / "metrics.json").read_text())


def _scores(
    critic: WVM, arrays: Mapping[str, np.ndarray], fps: float, infos: Sequence[EpisodeInfo]
) -> dict[str, float]:
    words = {info.index: word_ids(info.instruction) for info in infos}
    experts = [info for info in infos if is_expert(info)]
    moving = [(arrays[str(info.index)], words[info.index]) for info in infos]
    still = [(np.repeat(arrays[str(i.index)][:1], i.length, axis=0), words[i.index]) for i in experts]
    stride = critic.encoder.stride(fps)
    standing = iter(_values(critic, still, stride))
    views = [
        Views(values, still=next(standing) if is_expert(info) else None)
        for info, values in zip(infos, _values(critic, moving, stride), strict=True)
    ]
    scores = collect_scores(zip(infos, views, strict=True))
    return {name: _mean(scores[name][1] if name in scores else ()) for name in METRICS}


def _mean(scores: Iterable[float]) -> float:
    """Mean of those that are defined; NaN where none is."""
    known = [score for score in scores if not np.isnan(score)]
    return float(np.mean(known)) if known else float("nan")


def _values(critic: WVM, videos: list[tuple[np.ndarray, np.ndarray]], stride: int) -> list[np.ndarray]:
    """Values of many videos, some at a time."""
    group = 64
    return [
        values
        for first in range(0, len(videos), group)
        for values in critic.values_of_latents(videos[first : first + group], stride)
    ]
