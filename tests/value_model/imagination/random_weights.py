"""Networks in which every parameter matters: none has the value that it is made with."""

import jax
from flax import nnx

from value_model.imagination.worldgym_config import WorldGymConfig
from value_model.imagination.worldgym_dynamics import WorldGym

MICRO = WorldGymConfig(
    layers=2,
    width=32,
    heads=2,
    feedforward=48,
    latent_shape=(4, 6, 3),
    time_width=16,
    window=4,
    steps=3,
    guidance=1.0,
)


def stir(module: nnx.Module, scale: float = 0.1, seed: int = 1) -> None:
    """Add normal noise to every parameter."""
    state = nnx.state(module, nnx.Param)
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [
        leaf + scale * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)
    ]
    nnx.update(module, jax.tree.unflatten(tree, moved))


def random_worldgym(config: WorldGymConfig = MICRO, scale: float = 0.1) -> WorldGym:
    model = WorldGym(config, rngs=nnx.Rngs(0))
    stir(model, scale)
    return model
