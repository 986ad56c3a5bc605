"""Settings of the published world model, WorldGym (arXiv 2506.00613), as World-Gymnast (arXiv 2602.02454) uses it."""

from __future__ import annotations

from dataclasses import dataclass

from envs.errors import UserError, check_choice
from value_model.video.config import PRECISIONS

ROTARIES = ("standard", "pixel")


@dataclass(frozen=True)
class WorldGymConfig:
    """The network, its diffusion and its sampling. The defaults are the published ones, of the mixed-robot variant."""

    layers: int = 16  # each a spatial block and then a temporal one
    width: int = 1024
    heads: int = 16
    feedforward: int = 4096
    patch: int = 2  # latents per token, each way
    latent_shape: tuple[int, int, int] = (32, 32, 16)  # of 256×256 pixels by SD3's autoencoder
    action_dim: int = 10  # the last component is 1 in the null action alone
    time_width: int = 256  # sinusoids of the noise level
    rotary: str = "standard"  # of the spatial attention; "pixel" in the Bridge variant
    window: int = 20  # frames that a frame sees, itself included
    timesteps: int = 1000  # noise levels
    context_level: int = 14  # that known frames are labelled with when the next one is sampled
    steps: int = 10  # of DDIM a frame, 1 to 10 in use
    guidance: float = 3.0  # on the action; 1: none
    action_dropout: float = 0.1  # probability that a training clip has no actions
    precision: str = "float32"  # of products and activations; published: half precision
    remat: bool = False  # compute each layer's activations again in the backward pass instead of keeping them

    def __post_init__(self) -> None:
        height, width, _ = self.latent_shape
        if height % self.patch or width % self.patch:
            raise UserError(f"latents of {height}×{width} must be a multiple of patch={self.patch} each way")
        if self.width % (4 * self.heads):
            raise UserError(
                f"width={self.width} must be a multiple of four times heads={self.heads}, for rotary positions"
            )
        if self.window < 2:
            raise UserError(f"window={self.window} must be at least 2: a frame and one that it follows from")
        if not 1 <= self.steps <= self.timesteps:
            raise UserError(f"steps={self.steps} must lie between 1 and timesteps={self.timesteps}")
        if not 0 <= self.context_level < self.timesteps:
            raise UserError(
                f"context_level={self.context_level} must be one of {self.timesteps} noise levels"
            )
        if not 0 <= self.action_dropout <= 1:
            raise UserError(f"action_dropout={self.action_dropout} must lie in [0, 1]")
        check_choice("rotary", self.rotary, ROTARIES)
        check_choice("precision", self.precision, PRECISIONS)

    @property
    def tokens(self) -> int:
        """Of one frame."""
        return self.latent_shape[0] * self.latent_shape[1] // self.patch**2


WORLDGYM_PRESETS: dict[str, WorldGymConfig] = {
    "worldgym": WorldGymConfig(),
    "worldgym_bridge": WorldGymConfig(rotary="pixel", guidance=1.0),
}
