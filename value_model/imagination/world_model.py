"""A trained world model: tokenizer, dynamics, the classifier of success and the starts, as a folder of files.

Dimension letters: B frames, H and W height and width in pixels, h and w in latents, C channels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.files import atomic_file, load_arrays, save_arrays
from value_model.imagination.config import (
    CONFIG,
    FILES,
    QUALITY,
    STARTS,
    WEIGHTS,
    ImaginationConfig,
    from_json,
    to_json,
)
from value_model.imagination.eyes import Eyes, load_eyes
from value_model.imagination.kinds import OwnDynamics, new_dynamics
from value_model.imagination.starts import StartBank
from value_model.imagination.success import Solved
from value_model.video.encoder import FrameEncoder
from value_model.video.tokenizer import Tokenizer
from value_model.video.weights import blank, fill_arrays, flat_arrays


class WorldModel:
    """A frozen world model.

    solved: None where no outcome was known to learn it from; success_quality: its precision and recall on held-out frames;
    eyes: what a policy's frozen eyes would see of latents, None where none were distilled.
    """

    def __init__(
        self,
        config: ImaginationConfig,
        tokenizer: Tokenizer,
        dynamics: OwnDynamics,
        solved: Solved | None,
        success_quality: Mapping[str, float],
        starts: StartBank,
        eyes: Eyes | None = None,
    ) -> None:
        self.config, self.tokenizer, self.dynamics, self.solved = config, tokenizer, dynamics, solved
        self.success_quality, self.starts, self.eyes = success_quality, starts, eyes
        self.encoder = FrameEncoder(config, config.control_rate, tokenizer)
        self._decode = nnx.jit(partial(pictures, cameras=len(config.cameras)))

    @property
    def parts(self) -> dict[str, nnx.Module]:
        """What is trained and saved."""
        parts: dict[str, nnx.Module] = {"tokenizer": self.tokenizer, "dynamics": self.dynamics}
        return parts if self.solved is None else parts | {"solved": self.solved}

    def spec(self, instruction: str, horizon: int, eyes: bool = True) -> EnvSpec:
        """What an imagined world shows and takes, at a task; with what its eyes would see, if it has any."""
        config, size = self.config, self.config.tokenizer.image_size
        return EnvSpec(
            cameras=dict.fromkeys(config.cameras, (size, size)),
            proprio_dim=config.proprio_dim,
            action_low=config.action_low or (-1.0,) * config.action_dim,
            action_high=config.action_high or (1.0,) * config.action_dim,
            control_rate=config.control_rate,
            horizon=horizon,
            instruction=instruction,
            any_start=True,
            stride=config.stride,
            seen={self.eyes.digest: self.eyes.size} if eyes and self.eyes else {},
        )

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Pictures uint8 [B, H, W · cameras, 3] of latents [B, h, w, C], the cameras side by side."""
        return np.asarray(self._decode(self.tokenizer, jnp.asarray(latents)))

    def views(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """{camera: uint8 [B, H, W, 3]} of pictures [B, H, W · cameras, 3] with the cameras side by side."""
        cameras = self.config.cameras
        return dict(zip(cameras, np.split(frames, len(cameras), axis=2), strict=True))

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors (half precision), starts.safetensors, success.json and, where there are
        eyes, eyes.safetensors.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if self.eyes is not None:
            self.eyes.save(folder)
        starts = self.starts
        texts = sorted(set(starts.instruction))
        told = np.array([texts.index(text) for text in starts.instruction], np.int32)
        arrays = {
            "latents": starts.latents,
            "proprio": starts.proprio,
            "frame": starts.frame,
            "instruction": told,
        }
        save_arrays(folder / STARTS, arrays, {"instructions": json.dumps(texts)})
        with atomic_file(folder / QUALITY) as temporary:
            temporary.write_text(json.dumps(self.success_quality, indent=1) + "\n")
        with atomic_file(folder / CONFIG) as temporary:
            temporary.write_text(to_json(self.config))
        save_arrays(
            folder / WEIGHTS,
            {name: np.asarray(value, np.float16) for name, value in flat_arrays(self.parts).items()},
        )


def pictures(tokenizer: Tokenizer, latents: jax.Array, cameras: int) -> jax.Array:
    """Pictures uint8 [B, H, W · cameras, 3] of latents [B, h, w, C], each view decoded by itself, as it was encoded."""
    views = jnp.concatenate(jnp.split(latents, cameras, axis=2))
    pixels = jnp.concatenate(jnp.split(tokenizer.decode(views), cameras), axis=2)
    return jnp.clip(jnp.round((pixels + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def load_world_model(folder: Path) -> WorldModel:
    """What `WorldModel.save` wrote.

    Raises:
        UserError: a file is missing or damaged, or of another configuration.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise UserError(
                f"no world model in {folder}: {name} is missing; make one: python -m experiments.train_world_model"
            )
    config = from_json((folder / CONFIG).read_text())
    quality = json.loads((folder / QUALITY).read_text())
    arrays, told = load_arrays(folder / STARTS)
    texts = json.loads(told["instructions"])
    starts = StartBank(
        arrays["latents"],
        arrays["proprio"],
        arrays["frame"],
        tuple(texts[index] for index in arrays["instruction"].tolist()),
    )
    tokenizer, dynamics = blank(Tokenizer, config.tokenizer), blank(new_dynamics, config)
    solved = blank(Solved, config) if quality else None
    judge = {} if solved is None else {"solved": solved}
    fill_arrays({"tokenizer": tokenizer, "dynamics": dynamics, **judge}, folder / WEIGHTS)
    return WorldModel(config, tokenizer, dynamics, solved, quality, starts, load_eyes(config, folder))
