"""The world value model's network: a video DiT and a value DiT coupled layer by layer through joint attention.

A clip has a prefix frame, h current frames and h future frames. The prefix latent is dropped (only the value at the
prefix frame is used), the current latents are clean context, the future latents are noised. Value tokens see value
tokens and current video tokens; video tokens never see value tokens.

Flow matching on both streams: y_τ = τ y + (1 − τ) ε; the network predicts the velocity y − ε.

Source: arXiv 2606.24742, sections 3.2 and 3.3. Deviations: words are hashed and embedded by us instead of by T5; in
the small presets the current video tokens do not see the future ones (`causal_video`), so that a value needs no future
stream at all. Values are mapped from [0, 1] to [-1, 1] before noise is added, to have the noise's scale.

Dimension letters: B batch, h horizon, T latent frames of a chunk, L words, N tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from envs.text import BUCKETS
from value_model.critic.config import WVMConfig
from value_model.critic.heads import value_head
from value_model.video.blocks import Stream
from value_model.video.dit import VideoDiT
from value_model.video.layers import Tokens, run_layers


class Clip(NamedTuple):
    """A batch of training clips."""

    current: jax.Array  # latents [B, T, h, w, C]
    future: jax.Array  # latents [B, T, h, w, C]
    values: (
        jax.Array
    )  # true values in [0, 1] of the prefix frame and the h current ones, [B, h + 1]; NaN: unknown
    words: jax.Array  # ids [B, L], or embeddings [B, L, text_width]


class ValueNetwork(nnx.Module):
    """What gives values of latents, for losses and estimates. config: of its clips, and of how its values are read."""

    config: WVMConfig

    @abstractmethod
    def __call__(
        self,
        current: jax.Array,
        future: jax.Array | None,
        values: jax.Array,
        value_tau: jax.Array,
        video_tau: jax.Array,
        words: jax.Array,
    ) -> tuple[jax.Array, jax.Array | None]:
        """See `WVMNetwork`."""
        ...


class ValueReading(nnx.Module):
    """The value stream, which runs beside a video stream."""

    def __init__(self, config: WVMConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.value = Stream(
            layers=config.video.layers,
            width=config.value.width,
            heads=config.value.heads,
            feedforward=config.value.feedforward,
            joint_width=config.video.width,
            inputs=1,
            outputs=value_head(config.value).outputs,
            text_width=config.video.text_width,
            time_width=config.video.time_width,
            rngs=rngs,
        )
        scale = config.value.width**-0.5
        self.position = nnx.Param(
            scale * jax.random.normal(rngs.params(), (config.clip.horizon + 1, config.value.width))
        )

    def mask(self, frames: int, future_frames: int) -> jax.Array:
        """Who sees whom, bool [N, N], query by key: current video tokens, then future ones, then value tokens."""
        spatial = self.config.latent_shape[0] * self.config.latent_shape[1]
        spatial //= self.config.video.patch[1] * self.config.video.patch[2]
        current, future = (frames - future_frames) * spatial, future_frames * spatial
        kind = jnp.repeat(
            jnp.arange(3),
            jnp.array([current, future, self.config.clip.horizon + 1]),
            total_repeat_length=current + future + self.config.clip.horizon + 1,
        )
        allowed = jnp.array(
            [[True, self.config.sees_future, False], [True, True, False], [True, False, True]]
        )
        return allowed[kind[:, None], kind[None, :]]

    def tokens(self, values: jax.Array, tau: jax.Array, embedded: jax.Array) -> tuple[Tokens, jax.Array]:
        """The tokens of values [B, h + 1], each a frame of its own, and their flow times' vectors [B, h + 1, W].

        Args:
            tau: flow time of each value [B, h + 1].
            embedded: words [B, L, text_width].
        """
        y = self.value.tokens(values[..., None, None]) + self.position[...][:, None]
        time, modulation = self.value.time(tau)
        return Tokens(y, self.value.text(embedded, self.config.video.text_tokens), modulation), time

    def answered(self, y: jax.Array, time: jax.Array) -> jax.Array:
        """What the tokens [B, h + 1, 1, W] answer after the last layer [B, h + 1, O]."""
        return self.value.read_out(y, time)[:, :, 0]


class WVMNetwork(ValueReading, ValueNetwork):
    """What the value tokens answer (for flow matching, velocities), and velocities of the future latents."""

    def __init__(self, config: WVMConfig, *, rngs: nnx.Rngs) -> None:
        hashed = not config.video.text_tokens
        self.words = nnx.Embed(BUCKETS, config.video.text_width, rngs=rngs) if hashed else None
        self.video = VideoDiT(config.video, config.latent_shape, rngs=rngs)
        super().__init__(config, rngs=rngs)

    def __call__(
        self,
        current: jax.Array,
        future: jax.Array | None,
        values: jax.Array,
        value_tau: jax.Array,
        video_tau: jax.Array,
        words: jax.Array,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Outputs of the value tokens [B, h + 1, O] and velocities of the future latents (None without them).

        Computed in the precision of the network's matrices; the results have it, too.

        Args:
            current: clean latents [B, T, h, w, C].
            future: noised latents of the same shape; may be None when the current tokens do not see them.
            values: [B, h + 1] in [-1, 1], the first that of the prefix frame.
            value_tau: flow time [B, h + 1] of each value; 1 is clean.
            video_tau: flow time [B] of the future latents.
            words: ids [B, L], 0 is no word; with `text_tokens` their embeddings [B, L, text_width], zero where there is
                none: the rows of zeros stand for all up to `text_tokens`.
        """
        if future is None and self.config.sees_future:
            raise ValueError(
                "this configuration's current tokens see the future ones: give the future latents"
            )
        latents, tau = _joined(current, future, video_tau, self.config.video.patch[0])
        embedded = words if self.words is None else self.words(words) * (words > 0)[..., None]
        video, video_time = self.video.enter(latents, tau, embedded)
        value, value_time = self.tokens(values, value_tau, embedded)
        token_frames = video.x.shape[1]
        future_frames = 0 if future is None else token_frames // 2
        x, y = run_layers(
            [self.video.stream.blocks, self.value.blocks],
            [video, value],
            self.video.heads,
            self.mask(token_frames, future_frames),
            self.config.optim.remat,
        )
        answered = self.answered(y, value_time)
        if future is None:
            return answered, None
        return answered, self.video.velocity(x[:, -future_frames:], video_time[:, -future_frames:])


def _joined(
    current: jax.Array, future: jax.Array | None, future_tau: jax.Array, frames: int
) -> tuple[jax.Array, jax.Array]:
    """Both chunks' latents [B, T, h, w, C], one after the other, and the flow times [B, F] of `frames` of them each."""
    clean = jnp.ones((current.shape[0], current.shape[1] // frames))
    if future is None:
        return current, clean
    noised = jnp.broadcast_to(future_tau[:, None], clean.shape)
    return jnp.concatenate([current, future], axis=1), jnp.concatenate([clean, noised], axis=1)


class Noised(NamedTuple):
    """A batch of clips with everything that is drawn for a loss: what the network is given, and what it should answer."""

    current: jax.Array  # clean latents [B, T, h, w, C]
    future: jax.Array | None  # noised latents, and the velocities to be predicted
    video_target: jax.Array | None
    video_tau: jax.Array  # [B]
    values: jax.Array  # value tokens [B, h + 1], the first that of the prefix frame
    value_tau: jax.Array  # [B, h + 1]
    value_target: jax.Array  # [B, h, O]
    known: jax.Array  # bool [B]: whether the clip's true values are
    words: jax.Array


def noise_clip(config: WVMConfig, clip: Clip, key: jax.Array, video_only: bool = False) -> Noised:
    """Flow times and noise for a batch of clips.

    The value at the prefix frame enters clean, with probability `prefix_random` replaced by U[0, 1].
    """
    keys = jax.random.split(key, 5)
    batch = clip.values.shape[0]
    known = jnp.all(jnp.isfinite(clip.values), axis=1)
    values = jnp.where(known[:, None], clip.values, 0.0)
    random = jax.random.bernoulli(keys[0], config.clip.prefix_random, (batch,))
    prefix = jnp.where(random, jax.random.uniform(keys[1], (batch,)), values[:, 0])
    drawn = value_head(config.value).draw(values[:, 1:], keys[2])
    video_tau = jax.random.uniform(keys[3], (batch,))
    future, video_target = None, None
    if config.clip.future and (video_only or config.optim.video_weight or config.sees_future):
        noise = jax.random.normal(keys[4], clip.future.shape)
        tau = video_tau[:, None, None, None, None]
        future, video_target = tau * clip.future + (1 - tau) * noise, clip.future - noise
    return Noised(
        current=clip.current,
        future=future,
        video_target=video_target,
        video_tau=video_tau,
        values=jnp.concatenate([2.0 * prefix[:, None] - 1.0, drawn.tokens], axis=1),
        value_tau=jnp.concatenate([jnp.ones((batch, 1)), drawn.tau], axis=1),
        value_target=drawn.target,
        known=known,
        words=clip.words,
    )


def noised_loss(
    network: ValueNetwork, noised: Noised, count: jax.Array, parts: int = 1, video_only: bool = False
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A batch's loss L = L_value + λ L_video, or what one of its `parts` micro-batches of equal size adds to it.

    L_value is the head's loss on the h current values, a mean over the clips whose values are known; L_video the mean
    square of the future latents' velocities. With `video_only` the loss is L_video.

    Args:
        count: how many clips of the whole batch have known values.
    """
    config = network.config
    answered, velocity = network(
        noised.current, noised.future, noised.values, noised.value_tau, noised.video_tau, noised.words
    )
    head = value_head(config.value)
    losses = jnp.mean(head.loss(answered[:, 1:].astype(jnp.float32), noised.value_target), axis=1)
    value_loss = jnp.sum(losses * noised.known) / jnp.maximum(count, 1)
    video_loss = jnp.float32(0.0)
    if velocity is not None and noised.video_target is not None:
        video_loss = jnp.mean((velocity.astype(jnp.float32) - noised.video_target) ** 2) / parts
    loss = video_loss if video_only else value_loss + config.optim.video_weight * video_loss
    return loss, {"loss": loss, "value_loss": value_loss, "video_loss": video_loss}


def wvm_loss(
    network: ValueNetwork, clip: Clip, key: jax.Array, video_only: bool = False
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`noised_loss` of a whole batch of clips, noised at random. Clips of unknown values (NaN) have no L_value."""
    noised = noise_clip(network.config, clip, key, video_only)
    return noised_loss(network, noised, jnp.sum(noised.known), video_only=video_only)


def estimate(
    network: ValueNetwork,
    current: jax.Array,
    prefix: jax.Array,
    words: jax.Array,
    noise: jax.Array,
    future_noise: jax.Array | None,
) -> jax.Array:
    """Values [B, h] in [0, 1] of windows: the head's answer, for flow matching by Euler steps from noise.

    Args:
        current: latents [B, T, h, w, C].
        prefix: value [B] in [0, 1] at the frame before each window.
        words: ids [B, L].
        noise: standard normal [B, h].
        future_noise: standard normal, of the shape of `current`; None where the current tokens do not see the future.
    """
    batch = noise.shape[0]

    def read(tokens: jax.Array, tau: jax.Array) -> jax.Array:
        values = jnp.concatenate([2.0 * prefix[:, None] - 1.0, tokens], axis=1)
        taus = jnp.concatenate([jnp.ones((batch, 1)), tau], axis=1)
        answered, _ = network(current, future_noise, values, taus, jnp.zeros(batch), words)
        return answered[:, 1:].astype(jnp.float32)

    return value_head(network.config.value).values(read, noise, network.config.inference.steps)
