"""How fast labelling and training are, beside the rate of plain matrix products on the same machine in the same run.

The share counts model operations only (`value_model.flops`): what rematerialisation computes again, reading, resizing
and checks are time without operations.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.text import MAX_WORDS, word_ids
from envs.types import Episode
from value_model.clips import LatentData
from value_model.config import WVMConfig
from value_model.critic import WVM
from value_model.flops import label_flops, train_flops
from value_model.tokenizer import Tokenizer
from value_model.train import train_network
from value_model.wvm import WVMNetwork

LENGTH = 160  # frames of a made-up episode, as many as a demonstration has
INSTRUCTION = "put the red cube on the green cube"
SIDE = 1024  # of the matrices whose product is timed


def matmul_rate(precision: str = "float32", seconds: float = 0.5) -> float:
    """Operations a second of products of square matrices, the best of those made in about `seconds`."""
    matrix = jnp.ones((SIDE, SIDE), precision)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 2 * SIDE**3 / best


def measure_label(
    config: WVMConfig, episodes: int, progress: Callable[[int], object] | None = None
) -> dict[str, float]:
    """Labelling made-up episodes as they stream by, from uint8 pictures to values; compiling is left out.

    Returns:
        frames_per_s, flops_per_frame, matmul_flops_per_s, matmul_share, and peak_rss_mb, the process's peak memory, which
        does not depend on the number of episodes.
    """
    tokenizer = Tokenizer(config.tokenizer, rngs=nnx.Rngs(0))
    critic = WVM(config, tokenizer, WVMNetwork(config, rngs=nnx.Rngs(0)))
    group = _group(critic)
    for _ in critic.label(_episodes(config, group)):
        pass
    rate = matmul_rate(config.optim.precision)
    began = time.perf_counter()
    for values in critic.label(_episodes(config, max(episodes, group))):
        if progress is not None:
            progress(len(values))
    frames_per_s = max(episodes, group) * LENGTH / (time.perf_counter() - began)
    found = _found(frames_per_s, label_flops(config), rate, config)
    return {"frames_per_s": frames_per_s, "flops_per_frame": label_flops(config), **found}


def measure_train(
    config: WVMConfig, dispatches: int, progress: Callable[[int], object] | None = None
) -> dict[str, float]:
    """Training on made-up latents by the trainer itself; the median compiled call counts, without the first.

    Returns:
        clips_per_s, flops_per_clip, matmul_flops_per_s, matmul_share and peak_rss_mb.
    """
    updates = dispatches * config.optim.updates_per_dispatch
    optim = replace(config.optim, updates=updates, checkpoint_every=updates, video_updates=0)
    config, times = replace(config, optim=optim), [0.0]

    def tick(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        times.append(time.perf_counter())
        if progress is not None:
            progress(optim.updates_per_dispatch)

    rate = matmul_rate(optim.precision)
    network = WVMNetwork(config, rngs=nnx.Rngs(0))
    with tempfile.TemporaryDirectory() as folder:
        train_network(network, _latents(config), 1, Path(folder), 0, tick)
    seconds = float(np.median(np.diff(times[1:])))
    clips_per_s = optim.updates_per_dispatch * optim.batch / seconds
    found = _found(clips_per_s, train_flops(config), max(rate, matmul_rate(optim.precision)), config)
    return {"clips_per_s": clips_per_s, "flops_per_clip": train_flops(config), **found}


def _found(per_s: float, flops: int, rate: float, config: WVMConfig) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"matmul_flops_per_s": rate, "matmul_share": per_s * flops / rate, "peak_rss_mb": peak}


def _group(critic: WVM) -> int:
    """Enough episodes that every program that labelling needs is compiled."""
    return -(-512 // critic.encoder.stride(critic.config.data_fps)) + 1


def _episodes(config: WVMConfig, count: int) -> Iterator[Episode]:
    random, size = np.random.default_rng(0), config.tokenizer.image_size
    pictures = random.integers(0, 256, (LENGTH, size, size, 3), np.uint8)
    for seed in range(count):
        yield Episode(
            images=dict.fromkeys(config.cameras, pictures),
            proprio=np.zeros((LENGTH, 1), np.float32),
            actions=np.zeros((LENGTH, 1), np.float32),
            rewards=np.zeros(LENGTH, np.float32),
            environment_state=np.zeros((LENGTH, 0), np.float32),
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
        lapses=jnp.zeros(0, jnp.int32),
    )
