"""What a policy's frozen eyes would see of a latent frame: distilled, so that no picture is decoded for them.

Eyes do not know the blur of decoded pictures. The network learns from recorded frames and, that it may be right where it is
used, from frames that the dynamics imagined under the recorded actions, each beside what the eyes saw of the real
picture of that moment.

Dimension letters: B frames, D numbers that the eyes give, h and w latent height and width, C channels, P proprioception.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.errors import UserError
from envs.files import load_arrays, save_arrays
from value_model.imagination.config import EYES, ImaginationConfig
from value_model.imagination.hand import Moment
from value_model.video.linear import Linear
from value_model.video.weights import blank, fill_arrays, flat_arrays


@dataclass(frozen=True)
class EyesConfig:
    """The network and its training."""

    width: int = 512
    updates: int = 3000
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    noise: float = 0.1  # largest standard deviation of noise on the latents
    clips: int = 1024  # that are imagined; half of them begin where an episode does
    steps: int = 20  # of the world in each
    imagined: float = 0.75  # share of imagined frames in a batch

    def __post_init__(self) -> None:
        for name in ("width", "updates", "clips", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"eyes.{name}={getattr(self, name)} must be at least 1")
        if not 0 < self.imagined < 1:
            raise UserError(f"eyes.imagined={self.imagined} must lie between 0 and 1")


class Eyes(nnx.Module):
    """Two layers over a whole latent frame and the proprioception.

    digest: of the eyes that it stands for; size: D.
    """

    def __init__(
        self, config: ImaginationConfig, own: EyesConfig, digest: str, size: int, *, rngs: nnx.Rngs
    ) -> None:
        height, width, channels = config.latent_shape
        self.own, self.digest, self.size = own, digest, size
        self.first = Linear(height * width * channels + config.proprio_dim, own.width, rngs=rngs)
        self.second = Linear(own.width, own.width, rngs=rngs)
        self.out = Linear(own.width, size, rngs=rngs)
        self.felt_mean, self.felt_std = (
            Moment(jnp.zeros(config.proprio_dim)),
            Moment(jnp.ones(config.proprio_dim)),
        )
        self.mean, self.std = Moment(jnp.zeros(size)), Moment(jnp.ones(size))

    def __call__(self, latents: jax.Array, proprio: jax.Array) -> jax.Array:
        """[B, D] of latents [B, h, w, C] and proprio [B, P]."""
        felt = (proprio - self.felt_mean[...]) / self.felt_std[...]
        x = jnp.concatenate([latents.reshape(len(latents), -1), felt], axis=-1)
        x = nnx.silu(self.second(nnx.silu(self.first(x))))
        return self.mean[...] + self.std[...] * self.out(x)

    def save(self, folder: Path) -> None:
        """Write eyes.safetensors (half precision)."""
        told = {
            "digest": self.digest,
            "size": str(self.size),
            "config": json.dumps(dataclasses.asdict(self.own)),
        }
        arrays = flat_arrays({"eyes": self})
        save_arrays(
            folder / EYES, {name: np.asarray(value, np.float16) for name, value in arrays.items()}, told
        )


def load_eyes(config: ImaginationConfig, folder: Path) -> Eyes | None:
    """What `Eyes.save` wrote beside a world model; None where nothing lies there.

    Raises:
        UserError: the file is damaged or of another world model.
    """
    file = folder / EYES
    if not file.is_file():
        return None
    _, told = load_arrays(file)
    try:
        own = EyesConfig(**json.loads(told["config"]))
        eyes = blank(Eyes, config, own, told["digest"], int(told["size"]))
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{file} does not say what it is ({error}); distil the eyes again") from error
    fill_arrays({"eyes": eyes}, file)
    return eyes
