"""Run by `test_sharding` in a process of its own, with 8 devices simulated on the host: training and labelling on 1, 2
and 8 of them. Prints as JSON what each run saw."""

import dataclasses
import gc
import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.draws import share_draws
from tests.value_model.synthetic import MICRO, slide
from value_model.critic.clips import LatentData
from value_model.critic.network import WVMNetwork
from value_model.critic.train import train_network
from value_model.critic.wvm import WVM
from value_model.video.dit import VideoDiT
from value_model.video.sharding import device_mesh, gathered_but_layers, place_batch, place_state, use
from value_model.video.tokenizer import Tokenizer

OPTIM = dataclasses.replace(MICRO.optim, updates=4, warmup=2, updates_per_dispatch=2, checkpoint_every=2)


class Killed(Exception):
    """Stands for a process that dies."""


def latents() -> LatentData:
    """Ten episodes of random latents; the values of one are not known."""
    random = np.random.default_rng(0)
    values = np.tile(np.linspace(0, 1, 40, dtype=np.float32), 10)
    values[80:120] = np.nan
    return LatentData(
        latents=jnp.asarray(random.normal(size=(400, *MICRO.latent_shape)), jnp.float32),
        values=jnp.asarray(values),
        start=jnp.arange(0, 400, 40, dtype=jnp.int32),
        length=jnp.full(10, 40, jnp.int32),
        words=jnp.asarray(random.integers(1, 100, (10, 16)), jnp.int32),
        task=jnp.zeros(10, jnp.int32),
        lapses=jnp.zeros(0, jnp.int32),
    )


def train(folder: Path, devices: int, optim=OPTIM, die: bool = False) -> tuple[dict, WVMNetwork | None]:
    """Losses and gradient norms by update, and the largest share of a matrix that a device holds; `die` after two."""
    seen: dict = {"loss": {}, "grad_norm": {}}

    def progress(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        for name, by_update in seen.items():
            by_update[done] = metrics[name]
        if die and done == 2:
            raise Killed

    mesh = device_mesh(jax.devices()[:devices])
    start = WVMNetwork(dataclasses.replace(MICRO, optim=optim), rngs=nnx.Rngs(0))
    try:
        network = train_network(start, latents(), 4, folder, seed=0, progress=progress, mesh=mesh)
    except Killed:
        return seen, None
    matrices = [leaf for leaf in jax.tree.leaves(nnx.state(network)) if leaf.ndim >= 2 and leaf.size > 512]
    held = max(leaf.addressable_shards[0].data.size / leaf.size for leaf in matrices)
    return {**seen, "held": held}, network


def label(network: WVMNetwork, devices: int) -> list[float]:
    """Values of three episodes of different lengths."""
    mesh = device_mesh(jax.devices()[:devices])
    critic = WVM(MICRO, Tokenizer(MICRO.tokenizer, rngs=nnx.Rngs(0)), network, mesh)
    episodes = [slide(seed, length) for seed, length in ((1, 21), (2, 13), (3, 18))]
    return [float(value) for values in critic.label(episodes) for value in values]


def video_alone(devices: int, remat: bool) -> tuple[list[float], list[float]]:
    """A loss of the video stream by itself for each of 8 clips, and the size of every gradient."""
    mesh = device_mesh(jax.devices()[:devices])
    graph, state = nnx.split(VideoDiT(MICRO.video, MICRO.latent_shape, rngs=nnx.Rngs(0)))
    keys = iter(jax.random.split(jax.random.key(1), 99))
    state = jax.tree.map(lambda leaf: leaf + 0.05 * jax.random.normal(next(keys), leaf.shape), state)
    random = np.random.default_rng(0)
    latents = random.normal(size=(8, 8, *MICRO.latent_shape)).astype(np.float32)
    text = random.normal(size=(8, 3, MICRO.video.text_width)).astype(np.float32)

    @jax.jit
    def losses(state, latents, text):
        def loss(state):
            video = nnx.merge(graph, gathered_but_layers(state))
            each = jnp.mean(video(latents, jnp.full((8, 2), 0.5), text, remat) ** 2, axis=(1, 2, 3, 4))
            return jnp.sum(each), each

        return jax.grad(loss, has_aux=True)(state)

    with use(mesh):
        gradients, each = losses(place_state(state, mesh), *place_batch((latents, text), mesh))
    return each.tolist(), [float(jnp.linalg.norm(leaf)) for leaf in jax.tree.leaves(gradients)]


def main(folder: Path) -> None:
    share_draws()
    gc.disable()  # it lives for a minute
    found: dict = {}
    found["video 1"], found["video 8"] = video_alone(1, remat=False), video_alone(8, remat=True)
    found["1"], network = train(folder / "one", 1)
    assert network is not None, "it did not die"
    found["label 1"], found["label 8"] = label(network, 1), label(network, 8)
    train(folder / "eight", 8, die=True)
    for devices in (1, 2):
        shutil.copytree(folder / "eight", folder / f"to{devices}")
        found[f"8 to {devices}"], _ = train(folder / f"to{devices}", devices)
    found["8"], _ = train(folder / "eight", 8)
    micro = dataclasses.replace(OPTIM, accumulate=2, remat=True)
    found["8, micro-batches, remat"], _ = train(folder / "micro", 8, micro)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
