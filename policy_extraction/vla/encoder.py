"""The small VLA's eyes and ears: pictures, words and proprioception to one feature vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from policy_extraction.types import PolicySpec


@dataclass(frozen=True)
class VLAConfig:
    """The shape of the small VLA."""

    spec: PolicySpec = field(default_factory=PolicySpec)
    state_dim: int = 10  # of what the encoder learns to see of the simulator's state (`envs.robosuite.views.visible_state`)
    first_channels: int = 16
    second_channels: int = 32
    word_width: int = 16
    width: int = 256
    blocks: int = 3  # of the flow head
    token_blocks: int = 2
    step_width: int = 64  # of one action step in the token head
    bins: int = 33  # an action dimension's values in the token head; odd, so that 0 and ±1 are among them
    euler_steps: int = 8

    @property
    def feature_dim(self) -> int:
        keypoints = 2 * self.second_channels * len(self.spec.cameras)
        return keypoints + self.spec.proprio_dim + self.state_dim


class Statistic(nnx.Variable):
    """A constant of the data that the model was pretrained on."""


class Normalizer(nnx.Module):
    """(x − mean) / std, with the constants stored beside the weights."""

    def __init__(self, size: int) -> None:
        self.mean = Statistic(jnp.zeros(size))
        self.std = Statistic(jnp.ones(size))

    def __call__(self, values: Any) -> Any:
        return (values - self.mean[...]) / self.std[...]


class Words(nnx.Module):
    """Sum of word embeddings. They start at 0: a word that training never showed changes nothing."""

    def __init__(self, config: VLAConfig) -> None:
        self.table = nnx.Param(jnp.zeros((config.spec.word_buckets, config.word_width)))

    def __call__(self, words: Any) -> Any:
        """int32 [B, max_words], 0 for no word -> [B, word_width]."""
        return jnp.sum(self.table[...][words] * (words > 0)[..., None], axis=1)


class Eye(nnx.Module):
    """Two convolutions and a spatial softmax: where in the picture each channel sees its thing.

    Finn et al. 2016, arXiv 1509.06113.
    """

    def __init__(self, config: VLAConfig, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(3, config.first_channels, (5, 5), strides=2, padding="VALID", rngs=rngs)
        self.second = nnx.Conv(
            config.first_channels, config.second_channels, (3, 3), strides=2, padding="VALID", rngs=rngs
        )
        self.sharpness = nnx.Param(jnp.ones(()))

    def __call__(self, image: Any) -> Any:
        """uint8 [B, H, W, 3] -> keypoints [B, 2·channels] in [−1, 1]."""
        hidden = nnx.relu(self.first(image.astype(jnp.float32) / 127.5 - 1.0))
        hidden = self.second(hidden)
        count, height, width, channels = hidden.shape
        heat = jax.nn.softmax(self.sharpness[...] * hidden.reshape(count, height * width, channels), axis=1)
        rows, columns = jnp.meshgrid(jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width), indexing="ij")
        places = jnp.stack([rows.ravel(), columns.ravel()], -1)
        return jnp.einsum("bnc,nd->bcd", heat, places).reshape(count, 2 * channels)


class Encoder(nnx.Module):
    """One eye a camera (weights not shared), words and proprioception.

    Features [B, F]: keypoints, normalised proprioception, and the prediction of the simulator's state (places and
    turns of objects, centred), which only pretraining supervises.
    """

    def __init__(self, config: VLAConfig, rngs: nnx.Rngs) -> None:
        spec = config.spec
        self.eyes = nnx.Dict({camera: Eye(config, rngs) for camera in spec.cameras})
        self.proprio = Normalizer(spec.proprio_dim)
        self.state = Normalizer(config.state_dim)
        self.words = Words(config)
        seen = config.feature_dim - config.state_dim + config.word_width
        self.hidden = nnx.Linear(seen, config.width // 2, rngs=rngs)
        self.predict = nnx.Linear(config.width // 2, config.state_dim, rngs=rngs)

    def __call__(self, inputs: Mapping[str, Any]) -> Any:
        """`inputs.raw_inputs` -> features [B, F]; the last state_dim of them are the predicted state.

        Where there are keypoints "seen" already, [B, D], pictures are not needed.
        """
        keypoints = inputs["seen"] if "seen" in inputs else self.look(inputs)
        seen = jnp.concatenate([keypoints, self.proprio(inputs["proprio"])], axis=-1)
        spoken = jnp.concatenate([seen, self.words(inputs["words"])], axis=-1)
        return jnp.concatenate([seen, self.predict(nnx.silu(self.hidden(spoken)))], axis=-1)

    def look(self, inputs: Mapping[str, Any]) -> Any:
        """All that depends on the pictures alone: keypoints [B, D] of all eyes, camera after camera."""
        return jnp.concatenate(
            [eye(inputs[f"images.{camera}"]) for camera, eye in self.eyes.items()], axis=-1
        )
