"""Training a world value model: its tokenizer first, then the two streams on cached latents.

    episodes ─ sample of frames ─→ tokenizer ─ every frame encoded once ─→ latents on the device ─→ WVM

A killed run resumes from its last checkpoint in `folder` and ends with the same weights as an undisturbed one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from envs.errors import UserError
from envs.text import word_ids
from envs.types import Episode
from value_model.critic.clips import LatentData, sample_clips
from value_model.critic.config import WVMConfig
from value_model.critic.gradients import loss_gradients, split_network
from value_model.critic.metrics.episodes import EXPERT_STYLES, progress_is_known, true_progress
from value_model.critic.network import Clip, WVMNetwork
from value_model.critic.stretches import stretches
from value_model.critic.wvm import WVM, load_wvm
from value_model.video import hosts
from value_model.video.encoder import FrameEncoder
from value_model.video.frames import Episodes, episode_frames, watch
from value_model.video.loop import HostBatches, Progress, gradient_step, run_updates
from value_model.video.recipe import claim, make_optimizer
from value_model.video.sharding import check_batch, device_mesh, place_state
from value_model.video.tokenizer_training import train_tokenizer


def train_wvm(
    episodes: Episodes,
    config: WVMConfig,
    folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
    start: WVM | None = None,
) -> WVM:
    """Train on episodes of every quality. The value of an expert's is t / (T - 1); where it is unknown, only the video
    stream learns.

    Deviates from arXiv 2606.24742, which trains on experts alone, where the caller adds episodes with one marked
    hesitation or retry: their value is the benchmark's piecewise linear curve.

    Args:
        episodes: read several times, one episode at a time.
        folder: gets the checkpoints and, at the end, the model. If it holds the finished model already, that is returned.
        seed: of the weights, clips and noise.
        progress: called after every dispatch, see `loop.Progress`.
        start: a trained model to go on from, of a configuration that `config` is `continued` from. Its tokenizer is kept.

    Raises:
        UserError: no expert episode; the folder belongs to another run; a loss is not finite.
    """
    claim(folder, {"seed": seed, "config": dataclasses.asdict(config)} | ({"start": True} if start else {}))
    if (folder / "model.safetensors").is_file():
        return load_wvm(folder)
    if start is None:
        tokenizer = train_tokenizer(episodes, config, folder / "tokenizer", seed, progress)
        critic = WVM(config, tokenizer, WVMNetwork(config, rngs=nnx.Rngs(seed)))
    else:
        tokenizer = start.tokenizer
        critic = WVM(config, tokenizer, WVMNetwork(config, rngs=nnx.Rngs(seed)))
        nnx.update(critic.network, nnx.state(start.network))
    data, stride = encode_episodes(critic.encoder, episodes)
    network = train_network(critic.network, data, stride, folder / "network", seed, progress, device_mesh())
    nnx.update(network, hosts.at_home(nnx.state(network)))
    critic = WVM(config, tokenizer, network, device_mesh(jax.local_devices()))
    critic.save(folder)
    return critic


def continued(config: WVMConfig, start: WVMConfig) -> WVMConfig:
    """The configuration of a training that goes on from a model of configuration `start`.

    What the weights fit is the model's: sizes, clip length and how it is read; its cameras, its rate, how clips are drawn
    and the optimiser are those of `config`.
    """
    clip = dataclasses.replace(config.clip, horizon=start.clip.horizon, future=start.clip.future)
    return dataclasses.replace(
        start, cameras=config.cameras, data_fps=config.data_fps, clip=clip, optim=config.optim
    )


def is_known(episode: Episode) -> bool:
    """Whether this episode has true values to learn: a success whose progress is known, or of which nothing is said but
    that it succeeded, which is taken for an undisturbed expert's.
    """
    expert = episode.success is True and episode.style == "unknown" and not episode.segments
    return expert or progress_is_known(episode)


def training_values(episode: Episode, marked: bool) -> np.ndarray:
    """True values float32 [T]; NaN where they are unknown, as those of lapses are unless `marked` ones count."""
    if is_known(episode) and (marked or not episode.segments):
        return true_progress(len(episode), episode.segments)
    return np.full(len(episode), np.nan, np.float32)


def encode_episodes(encoder: FrameEncoder, episodes: Episodes) -> tuple[LatentData, int]:
    """Latents of all episodes on the device, and the stride in frames of the model's frame rate.

    Every other episode is resized without antialiasing, so that the critic reads both kinds of picture.
    """
    config = encoder.config
    latents, lessons, words, strides = [], [], [], set()
    for number, episode in enumerate(_videos(episodes, config.cameras)):
        if len(episode) < 2:
            continue
        frames = episode_frames(episode, config.cameras, config.tokenizer.image_size, smooth=number % 2 == 0)
        latents.append(encoder.encode(frames))
        lessons.append(lesson(episode, config.clip.marked))
        words.append(word_ids(episode.instruction))
        strides.add(encoder.stride(episode.fps))
    if len(strides) > 1:
        raise UserError("the training episodes have different frame rates; train on episodes of one rate")
    data = taught(lessons, jnp.asarray(np.concatenate(latents)), jnp.asarray(np.stack(words)))
    return data, strides.pop()


class Lesson(NamedTuple):
    """What is known of an episode's T frames. lapses: numbers of those within marked ones [M]; task: what is done."""

    values: np.ndarray  # float32 [T], NaN where unknown
    lapses: np.ndarray
    task: str


def lesson(episode: Episode, marked: bool) -> Lesson:
    """What is known of an episode; of lapses unless only experts count, see `training_values`."""
    lapses = [np.zeros(0, np.int64)]
    if marked and is_known(episode):
        lapses += [np.arange(part.start, part.end + 1) for part in episode.segments]
    task = episode.instruction if episode.task == "unknown" else episode.task
    return Lesson(training_values(episode, marked), np.concatenate(lapses), task)


def require_known(lessons: Sequence[Lesson]) -> None:
    """Refuse episodes of which nothing is known.

    Raises:
        UserError: all are such.
    """
    if not any(np.isfinite(one.values).all() for one in lessons):
        raise UserError(
            f"no expert episode to train on: need successes, recorded as such, of style {', '.join(EXPERT_STYLES)} or "
            "unknown; mark them in next.success, or in a table of your own: data.outcomes=table.csv"
        )


def taught(lessons: Sequence[Lesson], latents: jax.Array, words: jax.Array) -> LatentData:
    """Training data of episodes, with the latents of all their frames [N, h, w, C] and their instructions [E, L].

    Raises:
        UserError: nothing is known of any of them.
    """
    require_known(lessons)
    lengths = [len(one.values) for one in lessons]
    start = np.cumsum([0, *lengths[:-1]])
    lapses = [first + one.lapses for first, one in zip(start, lessons, strict=True)]
    return LatentData(
        latents=latents,
        values=jnp.asarray(np.concatenate([one.values for one in lessons])),
        start=jnp.asarray(start, jnp.int32),
        length=jnp.asarray(lengths, jnp.int32),
        words=words,
        task=jnp.asarray(np.unique([one.task for one in lessons], return_inverse=True)[1], jnp.int32),
        lapses=jnp.asarray(np.concatenate(lapses), jnp.int32),
    )


def _videos(episodes: Episodes, cameras: tuple[str, ...]) -> Iterator[Episode]:
    """The episodes; each stretch under another instruction is one of its own, of unknown value where a lapse is marked."""
    for episode in watch(episodes, cameras):
        marked = bool(episode.later and episode.segments)
        yield from stretches(dataclasses.replace(episode, success=None) if marked else episode)


def train_network(
    network: WVMNetwork,
    clips: LatentData | HostBatches,
    stride: int,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
    mesh: Mesh | None = None,
) -> WVMNetwork:
    """Both streams, trained together; before it, if asked for, the video stream alone.

    Args:
        network: to start from. On a mesh its parameters are moved there, and it cannot be used any more.
        clips: latents on the device that clips are drawn from, or a source of clips on the host.
        stride: frames of the latents from one of a clip to the next; a source on the host has its own.
        mesh: the devices to train on (`sharding.device_mesh`); None for the default one.

    Raises:
        UserError: the batch cannot be split evenly over the devices; a loss is not finite.
    """
    optim = network.config.optim
    check_batch(optim.batch, optim.accumulate, mesh)
    if optim.video_updates:
        alone = optim.video_updates
        network = _train(
            network, clips, stride, folder / "video", seed + 1, alone, progress, mesh, video_only=True
        )
    return _train(network, clips, stride, folder, seed, optim.updates, progress, mesh)


def _train(
    network: WVMNetwork,
    clips: LatentData | HostBatches,
    stride: int,
    folder: Path,
    seed: int,
    updates: int,
    progress: Progress | None,
    mesh: Mesh | None,
    video_only: bool = False,
) -> WVMNetwork:
    config, optim = network.config, network.config.optim
    graph, fixed, params = split_network(network, video_only)
    fixed = place_state(fixed, mesh)
    optimizer = make_optimizer(optim, updates)

    def update(state, key: jax.Array, data: tuple[LatentData | Clip, nnx.State]):
        params, optimizer_state = state
        keys = jax.random.split(key)
        clip, fixed = data
        if isinstance(clip, LatentData):
            clip = sample_clips(clip, keys[0], optim.batch, config, stride)
        gradients, metrics = loss_gradients(config, graph, fixed, params, clip, keys[1], video_only)
        params, optimizer_state, norm = gradient_step(optimizer, gradients, optimizer_state, params)
        return (params, optimizer_state), {**metrics, "grad_norm": norm}

    params, _ = run_updates(
        "video model" if video_only else "value model",
        update,
        (params, optimizer.init(params)),
        clips,
        updates,
        folder,
        fixed=fixed,
        seed=seed,
        per_dispatch=optim.updates_per_dispatch,
        checkpoint_every=optim.checkpoint_every,
        progress=progress,
        mesh=mesh,
    )
    return nnx.merge(graph, fixed, params)
