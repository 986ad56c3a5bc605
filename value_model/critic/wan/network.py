"""A world value model whose video stream starts from Wan's published weights."""

from __future__ import annotations

from pathlib import Path

import jax
from flax import nnx

from value_model.critic.config import WVMConfig
from value_model.critic.network import WVMNetwork
from value_model.video.wan.layout import Parts
from value_model.video.wan.weights import ShardingOf, load_video_weights


def load_wan_network(
    folder: Path, config: WVMConfig, seed: int, sharding: ShardingOf | None = None
) -> WVMNetwork:
    """A world value model to be trained: the video stream has the weights of `folder`, the value stream starts fresh.

    Args:
        folder, sharding: see `load_video_weights`.
        seed: of the value stream.

    Raises:
        UserError: see `load_video_weights`.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: WVMNetwork(config, rngs=nnx.Rngs(0))))
    fresh = {path: leaf for path, leaf in nnx.to_flat_state(state) if path[0] != "video"}
    places = None if sharding is None else {path: sharding(path, leaf.shape) for path, leaf in fresh.items()}

    def initialise() -> dict[Parts, jax.Array]:  # compiled, the video stream's random weights are never made
        made = dict(nnx.to_flat_state(nnx.state(WVMNetwork(config, rngs=nnx.Rngs(seed)))))
        return {path: made[path][...] for path in fresh}

    video = load_video_weights(folder, config, sharding)
    arrays = jax.jit(initialise, out_shardings=places)()
    leaves = [(path, leaf.replace(arrays[path])) for path, leaf in fresh.items()]
    leaves += [(("video", *path), leaf) for path, leaf in nnx.to_flat_state(video)]
    return nnx.merge(graph, nnx.from_flat_state(leaves))
