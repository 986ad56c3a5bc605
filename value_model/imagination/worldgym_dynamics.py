"""The published world model as a `Dynamics`: one frame at a time by DDIM, keys and values kept across frames.

A frame costs its own tokens once for every denoising step, and once more to store what it turned out to be: the clean
frame, labelled `context_level` and scaled by √ᾱ without noise, as the released code labels all known frames. While the
window grows that is exactly what the whole clip would give; once it slides, deeper layers hold traces of frames that have
left it. The released code computes the whole window again at every frame.

Dimension letters: B worlds, T frames, h and w latent height and width, C channels, A action, P proprioception, L words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.imagination.diffusion import (
    ddim_levels,
    ddim_shares,
    ddim_step,
    mix,
    signal,
    velocity,
)
from value_model.imagination.guidance import guided
from value_model.imagination.ring import Ring, remember
from value_model.imagination.worldgym import WorldGymNetwork
from value_model.imagination.worldgym_config import WorldGymConfig


class WorldGymState(NamedTuple):
    """A `WorldState`, with what the network keeps of the frames so far, under their actions and under none."""

    latents: jax.Array  # [B, h, w, C]
    proprio: jax.Array  # [B, P], as it was given: the published model does not predict it
    words: jax.Array  # [B, L], which the model does not read
    ring: Ring
    null_ring: Ring | None  # None without guidance


class WorldGym(nnx.Module):
    """A `Dynamics` of one control step; it reads no instruction, and its actions are the published ten numbers."""

    stride = 1

    def __init__(self, config: WorldGymConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.network = WorldGymNetwork(config, rngs=rngs)

    def init(self, latents: jax.Array, proprio: jax.Array, words: jax.Array) -> WorldGymState:
        """See `Dynamics`. The first frame's action is zero, "do not move"."""
        size = self.config.window - 1
        rings = [self.network.ring(len(latents), size) for _ in range(self._branches)]
        still = jnp.zeros((len(latents), self.config.action_dim))
        state = WorldGymState(latents, proprio, words, rings[0], rings[1] if len(rings) > 1 else None)
        return self._store(state, latents, still)

    def step(self, state: WorldGymState, actions: jax.Array, keys: jax.Array) -> WorldGymState:
        """See `Dynamics`; actions [B, 1, 10], see `bridge.published_actions`."""
        action = actions[:, 0]

        def answer(x: jax.Array, level: jax.Array) -> jax.Array:
            levels = jnp.broadcast_to(level, (len(x), 1))
            answers = [
                self.network.advance(x[:, None], levels, told[:, None], ring)[0][:, 0]
                for told, ring in self._each(state, action)
            ]
            return guided(answers, self.config.guidance)

        return self._store(state, self._denoise(self._noise(keys), answer), action)

    def predict(self, latents: jax.Array, actions: jax.Array, keys: jax.Array) -> jax.Array:
        """The next frame [B, h, w, C] without what is kept: the whole window is computed at every denoising step.

        Args:
            latents: all frames so far [B, T, h, w, C]; the newest `window` − 1 are seen.
            actions: that led to them and to the next one [B, T + 1, A]; zero to the first.
            keys: of the noise [B].
        """
        size = self.config.window - 1
        context, told = latents[:, -size:], actions[:, -(size + 1) :]
        context = self._as_context(context)
        labels = jnp.full(context.shape[:2], self.config.context_level)
        null = null_actions(told)

        def answer(x: jax.Array, level: jax.Array) -> jax.Array:
            clip = jnp.concatenate([context, x[:, None]], axis=1)
            levels = jnp.concatenate([labels, jnp.broadcast_to(level, (len(x), 1))], axis=1)
            branches = (told, null)[: self._branches]
            answers = [self.network(clip, levels, branch)[:, -1] for branch in branches]
            return guided(answers, self.config.guidance)

        return self._denoise(self._noise(keys), answer)

    @property
    def _branches(self) -> int:
        return 1 if self.config.guidance == 1.0 else 2

    def _each(self, state: WorldGymState, action: jax.Array) -> list[tuple[jax.Array, Ring]]:
        """The action, and the null action with guidance, each with what was kept under it."""
        told = [(action, state.ring)]
        return told if state.null_ring is None else [*told, (null_actions(action), state.null_ring)]

    def _store(self, state: WorldGymState, latents: jax.Array, action: jax.Array) -> WorldGymState:
        """The state once this frame is known."""
        frame = self._as_context(latents)[:, None]
        levels = jnp.full((len(latents), 1), self.config.context_level)
        rings = []
        for told, ring in self._each(state, action):
            _, keys, values = self.network.advance(frame, levels, told[:, None], ring)
            rings.append(remember(ring, keys, values))
        null_ring = rings[1] if len(rings) > 1 else None
        return WorldGymState(latents, state.proprio, state.words, rings[0], null_ring)

    def _as_context(self, latents: jax.Array) -> jax.Array:
        return jnp.sqrt(signal(self.config.timesteps)[self.config.context_level]) * latents

    def _noise(self, keys: jax.Array) -> jax.Array:
        """[B, h, w, C]: equal keys, equal noise."""
        return jax.vmap(lambda key: jax.random.normal(key, self.config.latent_shape))(keys)

    def _denoise(self, noise: jax.Array, answer: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
        """A clean frame from noise; `answer` gives the velocity of a frame [B, h, w, C] at a noise level."""
        config = self.config
        levels, shares = (
            ddim_levels(config.timesteps, config.steps),
            ddim_shares(config.timesteps, config.steps),
        )

        def one(x: jax.Array, at: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            level, share, following = at
            return ddim_step(x, answer(x, level), share, following), None

        steps = (jnp.asarray(levels[:-1]), jnp.asarray(shares[:-1]), jnp.asarray(shares[1:]))
        return jax.lax.scan(one, noise, steps)[0]


def null_actions(actions: jax.Array) -> jax.Array:
    """ "No action is known" [..., A]: zeros but for the last component. All zeros is an action, "do not move"."""
    return jnp.zeros_like(actions).at[..., -1].set(1.0)


def worldgym_loss(
    model: WorldGym,
    latents: jax.Array,
    proprio: jax.Array,
    actions: jax.Array,
    words: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error of the velocities of a clip whose every frame has a noise level of its own (diffusion forcing).

    Args:
        latents: [B, T, h, w, C].
        proprio, words: not read.
        actions: between the frames [B, T − 1, 1, A]; that of the first frame is zero.
        key: of the noise, its levels, and the clips that lose all of their actions.

    Source: Chen et al., "Diffusion Forcing" (arXiv 2407.01392).
    """
    config, (batch, frames) = model.config, latents.shape[:2]
    keys = jax.random.split(key, 3)
    levels = jax.random.randint(keys[0], (batch, frames), 0, config.timesteps)
    noise = jax.random.normal(keys[1], latents.shape)
    dropped = jax.random.bernoulli(keys[2], config.action_dropout, (batch, 1, 1))
    told = jnp.pad(actions[:, :, 0], ((0, 0), (1, 0), (0, 0)))
    told = jnp.where(dropped, null_actions(told), told)
    share = jnp.asarray(signal(config.timesteps))[levels][..., None, None, None]
    answer = model.network(mix(latents, noise, share), levels, told)
    loss = jnp.mean((answer - velocity(latents, noise, share)) ** 2)
    return loss, {"latent": loss}
