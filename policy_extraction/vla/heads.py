"""The small VLA's hands: two heads from features and words to an action chunk.

Both read observation = {"features": [B, F], "words": [B, max_words]} and are modules for `JaxPolicy` as
they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from policy_extraction.vla.encoder import VLAConfig, Words


class Block(nnx.Module):
    """h + W₂ silu(W₁ norm(h))."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.first = nnx.Linear(width, width, rngs=rngs)
        self.second = nnx.Linear(width, width, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)

    def __call__(self, hidden: Any) -> Any:
        return hidden + self.second(nnx.silu(self.first(self.norm(hidden))))


class Trunk(nnx.Module):
    """Features and words to a vector [B, width]."""

    def __init__(self, config: VLAConfig, rngs: nnx.Rngs) -> None:
        self.words = Words(config)
        self.linear = nnx.Linear(config.feature_dim + config.word_width, config.width, rngs=rngs)

    def __call__(self, features: Any, words: Any) -> Any:
        return self.linear(jnp.concatenate([features, self.words(words)], axis=-1))


class FlowHead(nnx.Module):
    """Flow matching: x_τ = τ·a + (1−τ)·ε, and the network predicts the velocity a − ε.

    It has no likelihood: `log_prob` is minus the mean squared error of the velocity at one random τ and ε,
    a stochastic bound whose noise comes from the key (for ratios, old and new share their keys: FPO, arXiv
    2507.21053); over the executed actions alone, where it is told them.
    """

    sampling_options = ("guidance",)

    def __init__(self, config: VLAConfig, rngs: nnx.Rngs) -> None:
        self.config = config
        spec = config.spec
        size = spec.action_horizon * spec.action_dim
        self.trunk = Trunk(config, rngs)
        self.noisy = nnx.Linear(size, config.width, rngs=rngs)
        self.time = nnx.Linear(32, config.width, rngs=rngs)
        self.blocks = nnx.List([Block(config.width, rngs) for _ in range(config.blocks)])
        self.norm = nnx.LayerNorm(config.width, rngs=rngs)
        self.out = nnx.Linear(config.width, size, rngs=rngs)

    def log_prob(self, observation: Mapping[str, Any], action: Any, key: Any, executed: Any = None) -> Any:
        noise_key, time_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, action.shape)
        time = jax.random.uniform(time_key, (len(action), 1, 1))
        condition = self.trunk(observation["features"], observation["words"])
        velocity = self.velocity(condition, time * action + (1 - time) * noise, time[:, 0, 0])
        error = jnp.square(velocity - (action - noise))
        if executed is None:
            return -jnp.mean(error, axis=(1, 2))
        return -jnp.sum(jnp.mean(error, axis=2) * executed, axis=1) / jnp.sum(executed, axis=1)

    def sample(self, observation: Mapping[str, Any], key: Any) -> Any:
        spec, steps = self.config.spec, self.config.euler_steps
        condition = self.trunk(observation["features"], observation["words"])
        guidance = observation.get("guidance")
        reference = condition
        if guidance is not None:
            reference = self.trunk(observation["features"], observation["reference_words"])
        chunk = jax.random.normal(key, (len(condition), spec.action_horizon, spec.action_dim))

        def euler_step(step: Any, chunk: Any) -> Any:
            time = jnp.full(len(chunk), step / steps)
            velocity = self.velocity(condition, chunk, time)
            if guidance is not None:
                plain = self.velocity(reference, chunk, time)
                velocity = plain + guidance[:, None, None] * (velocity - plain)
            return chunk + velocity / steps

        return jnp.clip(jax.lax.fori_loop(0, steps, euler_step, chunk), -1.0, 1.0)

    def pathwise(self, observation: Mapping[str, Any], key: Any) -> Any:
        """`sample`, whose Euler steps from a fixed noise are differentiable as they stand; cut at ±1, where the gradient
        is 0.
        """
        return self.sample(observation, key)

    def velocity(self, condition: Any, noisy: Any, time: Any) -> Any:
        """condition [B, width], noisy [B, H, A], time [B] -> [B, H, A]."""
        waves = time[:, None] * 2.0 ** jnp.linspace(0, 6, 16) * jnp.pi
        times = jnp.concatenate([jnp.sin(waves), jnp.cos(waves)], axis=-1)
        hidden = condition + self.noisy(noisy.reshape(len(noisy), -1)) + self.time(times)
        for block in self.blocks:
            hidden = block(hidden)
        return self.out(self.norm(hidden)).reshape(noisy.shape)


class TokenHead(nnx.Module):
    """One categorical distribution for each of the H·A numbers of a chunk, all decoded at once.

    A number's tokens are its nearest of `bins` values spread evenly over [−1, 1]. The likelihood is exact,
    a token each, so that ratios of policies exist; temperature T divides the logits, when sampling and in
    the likelihood.
    """

    sampling_options = ("temperature",)

    def __init__(self, config: VLAConfig, rngs: nnx.Rngs) -> None:
        self.config = config
        spec, steps = config.spec, config.spec.action_horizon
        self.trunk = Trunk(config, rngs)
        self.blocks = nnx.List([Block(config.width, rngs) for _ in range(config.token_blocks)])
        self.norm = nnx.LayerNorm(config.width, rngs=rngs)
        self.steps = nnx.Linear(config.width, steps * config.step_width, rngs=rngs)
        self.out = nnx.Linear(config.step_width, spec.action_dim * config.bins, rngs=rngs)

    def log_prob(self, observation: Mapping[str, Any], action: Any) -> Any:
        """[B, H·A], a number each."""
        bins = self.config.bins
        token = jnp.clip(jnp.round((action + 1) / 2 * (bins - 1)), 0, bins - 1).astype(jnp.int32)
        scores = jax.nn.log_softmax(self.logits(observation), axis=-1)
        return jnp.take_along_axis(scores, token[..., None], axis=-1).reshape(len(action), -1)

    def sample(self, observation: Mapping[str, Any], key: Any) -> Any:
        token = jax.random.categorical(key, self.logits(observation), axis=-1)
        return jnp.linspace(-1, 1, self.config.bins)[token]

    def pathwise(self, observation: Mapping[str, Any], key: Any) -> Any:
        """What `sample` draws, with the gradient of the distribution's mean: Σ_k p_k v_k over the values v of the bins.

        Straight-through (Bengio et al. 2013, arXiv 1308.3432): what is imagined is a chunk that the policy would do, and the
        bins are ordered numbers, so that their mean moves where the value rises. Biased: the gradient is taken at the draw
        and given to the mean alone, which tells nothing of the distribution's width. An expectation in place of the draw
        would imagine means between two ways of doing it, which nobody does; Gumbel-softmax adds a temperature.
        """
        mean = jax.nn.softmax(self.logits(observation), axis=-1) @ jnp.linspace(-1, 1, self.config.bins)
        return mean + jax.lax.stop_gradient(self.sample(observation, key) - mean)

    def logits(self, observation: Mapping[str, Any]) -> Any:
        """[B, H, A, bins], divided by the temperature."""
        spec, config = self.config.spec, self.config
        hidden = self.trunk(observation["features"], observation["words"])
        for block in self.blocks:
            hidden = block(hidden)
        steps = nnx.silu(self.steps(self.norm(hidden)).reshape(-1, spec.action_horizon, config.step_width))
        logits = self.out(steps).reshape(-1, spec.action_horizon, spec.action_dim, config.bins)
        temperature = observation.get("temperature")
        return logits if temperature is None else logits / temperature[:, None, None, None]
