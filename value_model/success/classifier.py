"""Whether a picture shows the task solved: a small convolutional network, trained on recorded outcomes.

Dimension letters: N pictures, H and W their height and width (all cameras side by side), B batch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from envs.errors import UserError
from envs.files import atomic_file, save_arrays
from value_model.video.frames import resize
from value_model.video.linear import Linear
from value_model.video.loop import Progress, gradient_step, run_updates
from value_model.video.weights import blank, fill_arrays, flat_arrays

PATCH = 4  # pixels that the first layer joins, each way
BLOCK = 64  # pictures that are judged together, so that one shape is compiled
MODEL, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class ClassifierConfig:
    """What it looks at, its size and its training."""

    cameras: tuple[str, ...] = ()  # seen side by side; empty: all that the environment shows
    image_size: int = 64  # pixels, square, that each camera's picture is resized to
    width: int = 32  # channels of the first layer; the second has twice as many
    hidden: int = 64
    updates: int = 400
    batch: int = 64  # pictures, half of them of solved tasks
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    shift: int = 2  # pixels by which training pictures are moved at most, each way
    noise: float = (
        0.05  # largest standard deviation of noise on training pictures, whose pixels go from -1 to 1
    )
    blur: float = 0.5  # share of training pictures that are blurred, as a world model's are

    def __post_init__(self) -> None:
        if self.image_size < 8 or self.image_size % 8:
            raise UserError(f"network.image_size={self.image_size} must be a multiple of 8")
        for name, least in (("width", 1), ("hidden", 1), ("updates", 1), ("batch", 2), ("shift", 0)):
            if getattr(self, name) < least:
                raise UserError(f"network.{name}={getattr(self, name)} must be at least {least}")


class Network(nnx.Module):
    """Patches, a convolution of stride 2, and two layers over all that is left."""

    def __init__(self, config: ClassifierConfig, *, rngs: nnx.Rngs) -> None:
        side, views = config.image_size // (2 * PATCH), len(config.cameras)
        self.patches = Linear(3 * PATCH**2, config.width, rngs=rngs)
        self.conv = nnx.Conv(config.width, 2 * config.width, (3, 3), strides=2, rngs=rngs)
        self.hidden = Linear(2 * config.width * side * side * views, config.hidden, rngs=rngs)
        self.out = Linear(config.hidden, 1, rngs=rngs)

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """The logit of success, float [B], of pictures float [B, H, W, 3] in [-1, 1]."""
        batch, height, width, _ = pictures.shape
        x = pictures.reshape(batch, height // PATCH, PATCH, width // PATCH, PATCH, 3)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // PATCH, width // PATCH, -1)
        x = nnx.silu(self.conv(nnx.silu(self.patches(x))))
        return self.out(nnx.silu(self.hidden(x.reshape(batch, -1))))[:, 0]


class SuccessClassifier:
    """A trained classifier, of the cameras of its configuration."""

    def __init__(self, config: ClassifierConfig, network: Network) -> None:
        self.config, self.network = config, network
        self._run = nnx.jit(lambda network, pictures: jax.nn.sigmoid(network(as_inputs(pictures))))

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """float32 [N] that each picture, uint8 [N, H, W, 3] as `side_by_side` gives them, shows the task solved."""
        found = []
        for first in range(0, len(pictures), BLOCK):
            rows = np.minimum(np.arange(first, first + BLOCK), len(pictures) - 1)
            found.append(np.asarray(self._run(self.network, jnp.asarray(pictures[rows]))))
        return np.concatenate(found)[: len(pictures)].astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write model.safetensors and config.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / CONFIG) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self.config), indent=1, sort_keys=True))
        arrays = {name: np.asarray(value) for name, value in flat_arrays({"network": self.network}).items()}
        save_arrays(folder / MODEL, arrays)


def load_classifier(folder: Path) -> SuccessClassifier:
    """The classifier that `SuccessClassifier.save` wrote.

    Raises:
        UserError: a file is missing or damaged, or is none of a classifier.
    """
    try:
        described = json.loads((folder / CONFIG).read_text())
        config = ClassifierConfig(**{**described, "cameras": tuple(described["cameras"])})
    except FileNotFoundError:
        raise UserError(f"no success classifier in {folder}: {CONFIG} is missing") from None
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{folder / CONFIG} is not that of a success classifier ({error!r}); train it again"
        ) from error
    network = blank(Network, config)
    fill_arrays({"network": network}, folder / MODEL)
    return SuccessClassifier(config, network)


def side_by_side(images: Mapping[str, np.ndarray], config: ClassifierConfig) -> np.ndarray:
    """What it sees: uint8 [N, size, size · cameras, 3] of {camera: uint8 [N, h, w, 3]}.

    Raises:
        UserError: a camera is missing.
    """
    missing = [camera for camera in config.cameras if camera not in images]
    if missing:
        shown = ", ".join(sorted(images)) or "none"
        raise UserError(f"the success classifier sees the camera {missing[0]!r}; what it judges has {shown}")
    size = config.image_size
    return np.concatenate([resize(images[camera], size, size) for camera in config.cameras], axis=2)


def train_classifier(
    pictures: np.ndarray,
    solved: np.ndarray,
    config: ClassifierConfig,
    folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
) -> SuccessClassifier:
    """A classifier trained on N pictures, both outcomes drawn equally often; goes on from checkpoints in `folder`.

    Args:
        pictures: uint8 [N, H, W, 3], see `side_by_side`; solved: float32 [N], 1 or 0; NaN leaves one out.

    Raises:
        UserError: one of the outcomes is missing, or a loss is not finite.
    """
    rows = tuple(jnp.asarray(np.flatnonzero(solved == value)) for value in (0, 1))
    if min(map(len, rows)) == 0:
        seen = "success" if len(rows[1]) else "failure"
        raise UserError(
            f"a success classifier needs both outcomes to learn from, and all {len(solved)} pictures show {seen}; "
            "roll out more, or give data with the other outcome (reward.data)"
        )
    graph, params = nnx.split(Network(config, rngs=nnx.Rngs(seed)))
    optimizer = optax.adamw(config.learning_rate, weight_decay=config.weight_decay)
    half = config.batch // 2

    def loss(params: nnx.State, key: jax.Array, shown: jax.Array, truth: jax.Array) -> jax.Array:
        logit = nnx.merge(graph, params)(disturbed(as_inputs(shown), config, key))
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logit, truth))

    def update(
        state: tuple, key: jax.Array, data: tuple[jax.Array, tuple[jax.Array, ...]]
    ) -> tuple[tuple, dict[str, jax.Array]]:
        params, optimizer_state = state
        *draws, changed = jax.random.split(key, 3)
        chosen = [
            part[jax.random.randint(draw, (half,), 0, len(part))]
            for draw, part in zip(draws, data[1], strict=True)
        ]
        truth = jnp.repeat(jnp.arange(2.0), half)
        shown = data[0][jnp.concatenate(chosen)]
        value, gradients = jax.value_and_grad(loss)(params, changed, shown, truth)
        params, optimizer_state, norm = gradient_step(optimizer, gradients, optimizer_state, params)
        return (params, optimizer_state), {"loss": value, "grad_norm": norm}

    params, _ = run_updates(
        "success classifier",
        update,
        (params, optimizer.init(params)),
        (jnp.asarray(pictures), rows),
        config.updates,
        folder,
        seed=seed,
        per_dispatch=1,  # convolutions are slow inside a loop on a CPU
        checkpoint_every=max(1, config.updates // 4),
        progress=progress,
    )
    return SuccessClassifier(config, nnx.merge(graph, params))


def as_inputs(pictures: jax.Array) -> jax.Array:
    """uint8 to float32 in [-1, 1]."""
    return pictures.astype(jnp.float32) / 127.5 - 1.0


def disturbed(pictures: jax.Array, config: ClassifierConfig, key: jax.Array) -> jax.Array:
    """Training pictures, float [B, H, W, 3]: all of a batch moved alike, some blurred, noise of another size on each."""
    move, blur, size, noise = jax.random.split(key, 4)
    most = config.shift
    padded = jnp.pad(pictures, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    start = jax.random.randint(move, (2,), 0, 2 * most + 1)
    pictures = jax.lax.dynamic_slice(padded, (0, start[0], start[1], 0), pictures.shape)
    blurred = jax.random.bernoulli(blur, config.blur, (len(pictures), 1, 1, 1))
    pictures = jnp.where(blurred, smooth(pictures), pictures)
    level = config.noise * jax.random.uniform(size, (len(pictures), 1, 1, 1))
    return pictures + level * jax.random.normal(noise, pictures.shape)


def smooth(pictures: jax.Array) -> jax.Array:
    """Each pixel a mean of 3 × 3, weighted 1 2 1 each way."""
    for axis in (1, 2):
        before, after = (jnp.roll(pictures, by, axis) for by in (1, -1))
        pictures = (before + 2 * pictures + after) / 4
    return pictures
