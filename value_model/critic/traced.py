"""The trained critic as a function that JAX differentiates in the pictures.

Dimension letters: R videos, T frames, H and W height and width in pixels, L words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from envs.errors import UserError
from value_model.critic.looking import LookingThrough
from value_model.critic.types import Critic
from value_model.critic.windows import sweep
from value_model.critic.wvm import WVM


@dataclass(frozen=True)
class TracedCritic:
    """A frozen world value model; cameras: of the data, in the order of its views; image_size: pixels; fps: at which it
    looks; parts: its arrays.
    """

    graph: Any
    parts: Any
    cameras: tuple[str, ...]
    image_size: int
    fps: float

    def values(self, parts: Any, images: Mapping[str, jax.Array], words: jax.Array) -> jax.Array:
        """Values [R, T] of videos at `fps`, as `WVM.values_of_many` gives them.

        Args:
            parts: its arrays.
            images: {camera: [R, T, H, W, 3]} in [0, 255].
            words: ids int32 [R, L].
        """
        tokenizer, network = (nnx.merge(self.graph, parts)[name] for name in ("tokenizer", "network"))
        count, frames = images[self.cameras[0]].shape[:2]
        views = jnp.concatenate([images[camera] for camera in self.cameras])
        encoded = tokenizer.encode(views.reshape(-1, *views.shape[2:]))
        latents = jnp.concatenate(jnp.split(encoded, len(self.cameras)), axis=2)
        steps = max(frames, network.config.clip.horizon)
        rows = jnp.arange(count)[:, None] * frames + jnp.minimum(jnp.arange(steps), frames - 1)
        return sweep(network, latents, rows, jnp.full(count, frames), words)[:, :frames]


def traced_critic(critic: Critic) -> TracedCritic:
    """The critic as a differentiable function.

    Raises:
        UserError: it is none that JAX can differentiate.
    """
    renamed = isinstance(critic, LookingThrough)
    own = critic.critic if renamed else critic
    if not isinstance(own, WVM) or own.config.tokenizer.temporal != 1:
        raise UserError(
            "this critic cannot be differentiated in the pictures; use the world value model: critic=wvm or critic=train"
        )
    graph, parts = nnx.split(own.parts)
    cameras = critic.cameras if renamed else own.config.cameras
    return TracedCritic(graph, parts, cameras, own.config.tokenizer.image_size, own.config.clip.fps)
