"""Baseline critics, trained from the same episodes, on the same latents and with the same budget as a world value model.

The `WVMConfig` that they are given is that of the model they are set beside: cameras, tokenizer, frame rate, clips and
optimiser are taken from it; its two streams are not used.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.errors import UserError
from envs.files import atomic_file, save_arrays
from envs.text import word_ids
from envs.types import Episode
from value_model.critic.baselines.config import BaselineConfig, FrameTransformerConfig, SingleFrameConfig
from value_model.critic.baselines.networks import BaselineNetwork, build
from value_model.critic.clips import LatentData
from value_model.critic.config import WVMConfig, from_json, to_json
from value_model.critic.train import encode_episodes
from value_model.video.encoder import FrameEncoder
from value_model.video.frames import Episodes
from value_model.video.loop import Progress, gradient_step, run_updates
from value_model.video.recipe import claim, make_optimizer
from value_model.video.tokenizer import Tokenizer
from value_model.video.tokenizer_training import train_tokenizer
from value_model.video.weights import blank, fill_arrays, flat_arrays

KINDS = {"single_frame": SingleFrameConfig, "frame_transformer": FrameTransformerConfig}
PAD = 16  # lengths are rounded up to a multiple of it, so that few shapes are compiled


class Baseline:
    """A frozen baseline (a `value_model.critic.types.SeeingCritic`).

    Args:
        kind: which baseline, and its sizes.
        config: of the world value model beside it.
        network: of that kind.
    """

    def __init__(
        self, kind: BaselineConfig, config: WVMConfig, tokenizer: Tokenizer, network: BaselineNetwork
    ) -> None:
        self.kind = kind
        self.config = config
        self.tokenizer = tokenizer
        self.network = network
        self.encoder = FrameEncoder(config, config.clip.fps, tokenizer)
        self._run = nnx.jit(lambda network, latents, rows, words: network(latents[rows], words))

    @property
    def parts(self) -> dict[str, nnx.Module]:
        """What is trained and saved."""
        return {"tokenizer": self.tokenizer, "network": self.network}

    @property
    def cameras(self) -> tuple[str, ...]:
        """The views that `values` is given, side by side."""
        return self.config.cameras

    def values(self, frames: np.ndarray, instruction: str, fps: float | None = None) -> np.ndarray:
        """Values float32 [T] in [0, 1] of one video, see `WVM.values_of_many`."""
        return self.values_of_many([frames], [instruction], fps)[0]

    def values_of_many(
        self, videos: Sequence[np.ndarray], instructions: Sequence[str], fps: float | None = None
    ) -> list[np.ndarray]:
        """Values of several videos, see `WVM.values_of_many`."""
        words = [word_ids(instruction) for instruction in instructions]
        stride = self.encoder.stride(self.config.data_fps if fps is None else fps)
        latents = self.encoder.encode_videos(videos)
        return [self._values(video, ids, stride) for video, ids in zip(latents, words, strict=True)]

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] of each episode, in order; only a few episodes are held at a time."""
        for latents, words, stride in self.encoder.episodes(episodes):
            yield self._values(latents, words, stride)

    def save(self, folder: Path) -> None:
        """Write model.safetensors and config.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        [name] = [name for name, kind in KINDS.items() if isinstance(self.kind, kind)]
        described = {
            "baseline": name,
            "sizes": dataclasses.asdict(self.kind),
            "beside": json.loads(to_json(self.config)),
        }
        with atomic_file(folder / "config.json") as temporary:
            temporary.write_text(json.dumps(described, indent=1, sort_keys=True))
        arrays = {name: np.asarray(value) for name, value in flat_arrays(self.parts).items()}
        save_arrays(folder / "model.safetensors", arrays)

    def _values(self, latents: np.ndarray, words: np.ndarray, stride: int) -> np.ndarray:
        """Values [T] of one video's latents [T, …]; its `stride` phases are sequences at the model's rate."""
        steps = -(-len(latents) // (stride * PAD)) * PAD
        rows = np.arange(stride)[:, None] + stride * np.arange(steps)  # phase by phase, some beyond the end
        beyond = np.zeros((stride * steps - len(latents), *latents.shape[1:]), np.float32)
        padded = np.concatenate([latents, beyond])
        found = self._run(self.network, padded, rows, np.tile(words, (stride, 1)))
        return np.asarray(found, np.float32).T.reshape(-1)[: len(latents)]


def train_baseline(
    kind: BaselineConfig,
    config: WVMConfig,
    episodes: Episodes,
    folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
    tokenizer: Tokenizer | None = None,
) -> Baseline:
    """Train a baseline on those of `episodes` whose true values are known.

    With the same episodes, configuration and seed its tokenizer is that of `train_wvm`.

    Args:
        config: of the world value model beside it: cameras, tokenizer, frame rate, rewinding, optimiser, updates.
        episodes, folder, seed, progress: see `train_wvm`.
        tokenizer: a trained one to use instead of training it.

    Raises:
        UserError: no expert episode; the folder belongs to another run; a loss is not finite.
    """
    run = {"seed": seed, "kind": [type(kind).__name__, dataclasses.asdict(kind)]}
    claim(folder, {**run, "config": dataclasses.asdict(config), "given_tokenizer": tokenizer is not None})
    if (folder / "model.safetensors").is_file():
        return load_baseline(folder)
    if tokenizer is None:
        tokenizer = train_tokenizer(episodes, config, folder / "tokenizer", seed, progress)
    network = _train_network(kind, config, tokenizer, episodes, folder / "network", seed, progress)
    baseline = Baseline(kind, config, tokenizer, network)
    baseline.save(folder)
    return baseline


def load_baseline(folder: Path) -> Baseline:
    """The critic that `Baseline.save` wrote.

    Raises:
        UserError: a file is missing or damaged, or is of another configuration.
    """
    file = Path(folder) / "config.json"
    if not file.is_file():
        raise UserError(f"no baseline critic in {folder}: config.json is missing")
    try:
        described = json.loads(file.read_text())
        kind = KINDS[described["baseline"]](**described["sizes"])
        config = from_json(json.dumps(described["beside"]))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"{file} is not that of a baseline critic ({error!r}); train it again") from error
    tokenizer, network = blank(Tokenizer, config.tokenizer), blank(build, kind, config)
    fill_arrays({"tokenizer": tokenizer, "network": network}, Path(folder) / "model.safetensors")
    return Baseline(kind, config, tokenizer, network)


def _train_network(
    kind: BaselineConfig,
    config: WVMConfig,
    tokenizer: Tokenizer,
    episodes: Episodes,
    folder: Path,
    seed: int,
    progress: Progress | None,
) -> BaselineNetwork:
    """The baseline's network after `config.optim.updates` updates."""
    optim = config.optim
    data, stride = encode_episodes(FrameEncoder(config, config.clip.fps, tokenizer), episodes)
    known = jnp.asarray(np.flatnonzero(np.isfinite(np.asarray(data.values))), jnp.int32)
    network = build(kind, config, nnx.Rngs(seed))
    graph, params = nnx.split(network)
    optimizer = make_optimizer(optim, optim.updates)

    def loss(params: nnx.State, key: jax.Array, data: LatentData, known: jax.Array) -> jax.Array:
        return nnx.merge(graph, params).loss(data, known, stride, key)

    def update(state, key: jax.Array, known_data: tuple[LatentData, jax.Array]):
        params, optimizer_state = state
        value, gradients = jax.value_and_grad(loss)(params, key, *known_data)
        params, optimizer_state, norm = gradient_step(optimizer, gradients, optimizer_state, params)
        return (params, optimizer_state), {"loss": value, "grad_norm": norm}

    params, _ = run_updates(
        "baseline",
        update,
        (params, optimizer.init(params)),
        (data, known),
        optim.updates,
        folder,
        seed=seed,
        per_dispatch=optim.updates_per_dispatch,
        checkpoint_every=optim.checkpoint_every,
        progress=progress,
    )
    return nnx.merge(graph, params)
