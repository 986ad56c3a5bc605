"""What imagined episodes begin from: pictures that a start brings along, or a recorded frame that its seed draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.contract import Start
from envs.errors import UserError
from value_model.imagination.starts import StartBank
from value_model.imagination.world_model import WorldModel


def first_states(
    world: WorldModel, bank: StartBank, starts: Sequence[Start], mask: np.ndarray, instruction: str
) -> tuple[np.ndarray, np.ndarray]:
    """Latents float32 [N, h, w, C] and proprio [N, P] that the starts of `mask` bool [N] stand for; zeros elsewhere.

    Args:
        instruction: of the starts that say none.

    Raises:
        UserError: a start's pictures or proprioception do not fit the world model.
    """
    latents = np.zeros((len(starts), *bank.latents.shape[1:]), np.float32)
    proprio = np.zeros((len(starts), world.config.proprio_dim), np.float32)
    rows = np.flatnonzero(mask).tolist()
    pictured, drawn = ([row for row in rows if bool(starts[row].images) == own] for own in (True, False))
    chosen = [bank.draw(starts[row].seed, starts[row].instruction or instruction) for row in drawn]
    latents[drawn], proprio[drawn] = bank.latents[chosen], bank.proprio[chosen]
    if pictured:
        videos = [_pictures(starts[row], world.config.cameras) for row in pictured]
        latents[pictured] = np.concatenate(world.encoder.encode_videos(videos))
        proprio[pictured] = [_proprio(starts[row], bank, world.config.proprio_dim) for row in pictured]
    return latents, proprio


def _pictures(start: Start, cameras: tuple[str, ...]) -> np.ndarray:
    """uint8 [1, H, W · cameras, 3]."""
    missing = [name for name in cameras if name not in start.images]
    if missing:
        raise UserError(f"a start shows no {missing[0]!r}; the world model begins from {', '.join(cameras)}")
    return np.concatenate([start.images[name] for name in cameras], axis=1)[None]


def _proprio(start: Start, bank: StartBank, wanted: int) -> np.ndarray:
    """float32 [P]."""
    proprio = bank.usual_proprio() if start.proprio is None else start.proprio
    if np.shape(proprio) != (wanted,):
        raise UserError(
            f"a start has proprioception of shape {np.shape(proprio)}; the world model's is [{wanted}]"
        )
    return np.asarray(proprio, np.float32)
