"""How fast labelling and training are, beside the rate of plain matrix products on the same machine in the same run.

The share counts model operations only (`value_model.critic.flops`): what rematerialisation computes again, reading, resizing
and checks are time without operations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.store import Reading, open_store, write_store
from envs.text import MAX_WORDS, word_ids
from envs.types import Episode
from value_model.critic.clips import LatentData
from value_model.critic.config import WVMConfig
from value_model.critic.flops import label_flops, train_flops
from value_model.critic.label import label_store
from value_model.critic.network import WVMNetwork
from value_model.critic.stretches import label_stretches
from value_model.critic.train import train_network
from value_model.critic.wvm import SEQUENCES, WVM
from value_model.video.meter import Meter, peak_bytes
from value_model.video.tokenizer import Tokenizer

LENGTH, SHORT = (
    160,
    40,
)  # frames of a made-up episode: as many as a demonstration has, and where many are written
TIMES = 10  # as much data
INSTRUCTION = "put the red cube on the green cube"


def measure_label(
    config: WVMConfig, groups: int, progress: Callable[[int], object] | None = None
) -> dict[str, float]:
    """Labelling made-up episodes as they stream by, from uint8 pictures to values, a group in lockstep at a time.

    Returns:
        frames_per_s, flops_per_frame, matmul_flops_per_s, matmul_share, and peak_rss_mb, the process's peak memory, which
        does not depend on the number of groups.
    """
    critic = _random_critic(config)
    size = _group(critic)
    meter = Meter(config.inference.precision)
    for number, _ in enumerate(critic.label(_episodes(config, size * (groups + 1))), start=1):
        if number % size == 1:  # the first values of a group come when all of it is done
            meter.lap()
            if progress is not None:
                progress(size * LENGTH)
    flops = label_flops(config)
    found = meter.speed(size * LENGTH, flops)
    return {
        "frames_per_s": found.pop("per_s"),
        "flops_per_frame": flops,
        **found,
        "peak_rss_mb": peak_bytes() / 2**20,
    }


def measure_growth(config: WVMConfig, times: int = TIMES, episodes: int = 0) -> dict[str, float]:
    """What labelling a data set on disk costs when it is `times` as large, reading and writing included.

    Args:
        episodes: short made-up ones in the smaller one; 0: as many as are labelled in lockstep.

    Returns:
        time_growth: seconds of the larger over those of the smaller; memory_growth: the process's peak memory after both
        over that after the smaller.
    """
    critic = _random_critic(config)
    count = episodes or _group(critic)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_store(folder / "data", _episodes(config, times * count, SHORT))
        stores = [
            open_store(folder / "data", Reading(episodes=tuple(range(size))))
            for size in (count, times * count)
        ]
        label_store(label_stretches(critic, stores[0]), stores[0], folder / "compiled.parquet")
        seconds, peaks = [], []
        for number, store in enumerate(stores):
            seconds.append(
                label_store(label_stretches(critic, store), store, folder / f"{number}.parquet").seconds
            )
            peaks.append(peak_bytes())
    return {"time_growth": seconds[1] / seconds[0], "memory_growth": peaks[1] / peaks[0]}


def measure_train(
    config: WVMConfig, dispatches: int, progress: Callable[[int], object] | None = None
) -> dict[str, float]:
    """Training on made-up latents by the trainer itself.

    Args:
        dispatches: compiled calls, of `updates_per_dispatch` updates each.

    Returns:
        clips_per_s, flops_per_clip, matmul_flops_per_s, matmul_share and peak_rss_mb.
    """
    updates = dispatches * config.optim.updates_per_dispatch
    optim = replace(config.optim, updates=updates, checkpoint_every=updates, video_updates=0)
    config = replace(config, optim=optim)
    meter = Meter(optim.precision)

    def tick(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        meter.lap()
        if progress is not None:
            progress(optim.updates_per_dispatch)

    with tempfile.TemporaryDirectory() as folder:
        network = WVMNetwork(config, rngs=nnx.Rngs(0))
        train_network(network, _latents(config), 1, Path(folder), 0, tick)
    flops = train_flops(config)
    found = meter.speed(optim.updates_per_dispatch * optim.batch, flops)
    return {
        "clips_per_s": found.pop("per_s"),
        "flops_per_clip": flops,
        **found,
        "peak_rss_mb": peak_bytes() / 2**20,
    }


def _random_critic(config: WVMConfig) -> WVM:
    tokenizer = Tokenizer(config.tokenizer, rngs=nnx.Rngs(0))
    return WVM(config, tokenizer, WVMNetwork(config, rngs=nnx.Rngs(0)))


def _group(critic: WVM) -> int:
    """Episodes that are labelled in lockstep."""
    return -(-SEQUENCES // critic.encoder.stride(critic.config.data_fps))


def _episodes(config: WVMConfig, count: int, length: int = LENGTH) -> Iterator[Episode]:
    random, size = np.random.default_rng(0), config.tokenizer.image_size
    pictures = random.integers(0, 256, (length, size, size, 3), np.uint8)
    for seed in range(count):
        yield Episode(
            images=dict.fromkeys(config.cameras, pictures),
            proprio=np.zeros((length, 1), np.float32),
            actions=np.zeros((length, 1), np.float32),
            rewards=np.zeros(length, np.float32),
            environment_state=np.zeros((length, 0), np.float32),
            success=True,
            task="made up",
            instruction=INSTRUCTION,
            robot="none",
            seed=seed,
            fps=config.data_fps,
        )


def _latents(config: WVMConfig, episodes: int = 16) -> LatentData:
    frames = episodes * LENGTH
    return LatentData(
        latents=jax.random.normal(jax.random.key(0), (frames, *config.latent_shape)),
        values=jnp.tile(jnp.linspace(0.0, 1.0, LENGTH), episodes),
        start=jnp.arange(episodes, dtype=jnp.int32) * LENGTH,
        length=jnp.full(episodes, LENGTH, jnp.int32),
        words=jnp.broadcast_to(jnp.asarray(word_ids(INSTRUCTION)), (episodes, MAX_WORDS)),
        task=jnp.zeros(episodes, jnp.int32),
        lapses=jnp.zeros(0, jnp.int32),
    )
