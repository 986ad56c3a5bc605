"""What a step of the world turns out to be, where picture and actions leave it open: a draw of one of several classes.

A regression foretells the mean of what may happen; whether a grasp holds, decided by less than the picture shows, has no
mean that happens. In training a posterior tells the class from the frame that came out, and a prior learns to foretell
it from what was known before; in use the prior is drawn from (Denton and Fergus, arXiv 1802.07687). Straight-through
gradients and a balanced divergence are those of Hafner et al., arXiv 2010.02193 and 2301.04104; they draw 32 times at once,
independently. Of one draw nothing can contradict itself, and 16 classes are enough for what one step leaves open.

Dimension letters: B worlds, D classes, h and w latent height and width, C channels, P proprioception, F numbers that are
known before a step.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from value_model.imagination.config import ImaginationConfig
from value_model.video.linear import Linear

UNIFORM = 0.01  # share of a uniform distribution in the prior: no divergence is infinite


class Outcome(nnx.Module):
    """Prior and posterior, two layers each over whole latent frames."""

    def __init__(self, config: ImaginationConfig, *, rngs: nnx.Rngs) -> None:
        own, (height, width, channels) = config.outcome, config.latent_shape
        self.balance = own.balance
        frame = height * width * channels + config.proprio_dim
        remembered = config.hand.memory * config.proprio_dim
        known = frame + config.stride * config.action_dim + remembered
        self.before, self.after = Linear(known, own.width, rngs=rngs), Linear(known, own.width, rngs=rngs)
        self.came = Linear(frame, own.width, use_bias=False, rngs=rngs)
        self.prior_hidden, self.posterior_hidden = (Linear(own.width, own.width, rngs=rngs) for _ in range(2))
        self.prior_out, self.posterior_out = (Linear(own.width, own.classes, rngs=rngs) for _ in range(2))

    def foretold(self, known: jax.Array, keys: jax.Array) -> jax.Array:
        """Drawn from what is known [B, F]: [B, D], 1 for a class, 0 for the others; each world from its own of keys [B]."""
        return _drawn(self._prior(known), keys)

    def told(self, known: jax.Array, came: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Drawn by what came out [B, D], and the divergence in nats from what was foretold [B].

        Args:
            known: [B, F].
            came: the changes of the latent frame and of proprioception [B, h·w·C + P].
            keys: [B].
        """
        hidden = nnx.silu(self.after(known) + self.came(came))
        posterior = _shares(self.posterior_out(nnx.silu(self.posterior_hidden(hidden))))
        prior = self._prior(known)
        fixed = jax.lax.stop_gradient
        share = self.balance
        apart = share * _divergence(fixed(posterior), prior) + (1 - share) * _divergence(
            posterior, fixed(prior)
        )
        return _drawn(posterior, keys), apart

    def _prior(self, known: jax.Array) -> jax.Array:
        hidden = nnx.silu(self.prior_hidden(nnx.silu(self.before(known))))
        shares = _shares(self.prior_out(hidden))
        return (1 - UNIFORM) * shares + UNIFORM / shares.shape[-1]


def _shares(logits: jax.Array) -> jax.Array:
    """Probabilities [B, D], none of them 0."""
    return jnp.maximum(jax.nn.softmax(logits.astype(jnp.float32)), 1e-9)


def _drawn(probability: jax.Array, keys: jax.Array) -> jax.Array:
    """One class of each row of probabilities [B, D] as ones and zeros; the gradient is the probability's."""
    gumbel = jax.vmap(lambda key: jax.random.gumbel(key, probability.shape[1:]))(keys)
    chosen = jnp.argmax(jnp.log(probability) + gumbel, axis=-1)
    hard = jax.nn.one_hot(chosen, probability.shape[-1])
    return hard + probability - jax.lax.stop_gradient(probability)


def _divergence(one: jax.Array, other: jax.Array) -> jax.Array:
    """Of Kullback and Leibler, in nats [B]."""
    return jnp.sum(one * (jnp.log(one) - jnp.log(other)), axis=-1)
