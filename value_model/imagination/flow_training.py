"""The loss of flow matching with diffusion forcing (Chen et al., arXiv 2407.01392): every frame has a flow time of its own.

Deviations: the squared error of the predicted frames instead of the velocities' (which would count a frame at τ with
1 / (1 − τ)²), and flow times that lean towards noise: near it alone do the actions matter.

Dimension letters: B clips, T frames, h and w latent height and width, C channels, K control steps of a world's step, A
action, P proprioception, L words.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from value_model.imagination.clips import Clip
from value_model.imagination.flow import Flow
from value_model.imagination.hand import Hand, NoHand


def flow_loss(
    model: Flow, latents: jax.Array, proprio: jax.Array, actions: jax.Array, words: jax.Array, key: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error of the clean frames that follow the first, and of proprioception in units of its change.

    Args:
        latents: [B, T, h, w, C].
        proprio: [B, T, P].
        actions: between the frames [B, T − 1, K, A].
        words: int32 [B, L].
        key: of the noise, the flow times, the noise on the previous frames, and the clips that lose all of their actions.
    """
    flow, (batch, frames) = model.flow, latents.shape[:2]
    keys = jax.random.split(key, 5)
    uniform = jax.random.uniform(keys[0], (batch, frames))
    tau = uniform / (uniform + flow.noisier * (1.0 - uniform))
    mixed = tau[..., None, None, None]
    x = mixed * latents + (1.0 - mixed) * jax.random.normal(keys[1], latents.shape)
    size = flow.context_noise * jax.random.uniform(keys[2], (batch, 1, 1, 1, 1))
    before = latents[:, :-1] + size * jax.random.normal(keys[3], latents[:, :-1].shape)
    previous = jnp.concatenate([latents[:, :1], before.at[:, 0].set(latents[:, 0])], axis=1)
    dropped = jax.random.bernoulli(keys[4], model.action_dropout, (batch, 1, 1))
    told = jnp.concatenate(
        [model.condition(proprio[:, :1], None), model.condition(proprio[:, :-1], actions, dropped)], axis=1
    )
    clean = model.clean(x, tau, previous, told, words)
    latent = jnp.mean((clean - latents)[:, 1:] ** 2)
    hand = hand_loss(model.hand, proprio, actions)
    return latent + hand, {"latent": latent, "hand": hand}


def flow_clip_loss(model: Flow, clip: Clip, key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`flow_loss` of a clip, which begins as a world does: nothing is known but its first frame."""
    return flow_loss(model, clip.latents, clip.proprio, clip.actions, clip.words, key)


def hand_loss(hand: Hand | NoHand, proprio: jax.Array, actions: jax.Array) -> jax.Array:
    """Mean squared error of proprioception [B, T, P], imagined on from the first, in units of its change."""

    def one(felt: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        told, true = inputs
        felt, moved = hand(felt, told, jnp.zeros_like(felt))
        return felt, hand.error(felt, moved, true, moved)

    inputs = (jnp.moveaxis(actions, 1, 0), jnp.moveaxis(proprio[:, 1:], 1, 0))
    return jnp.mean(jax.lax.scan(one, proprio[:, 0], inputs)[1])
