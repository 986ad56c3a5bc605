"""Which baseline, and its sizes. The published value stands beside ours where there is one."""

from __future__ import annotations

from dataclasses import dataclass

from envs.errors import UserError


@dataclass(frozen=True)
class SingleFrameConfig:
    """A perceptron on the latent of one frame and the mean of its words' embeddings."""

    width: int = 256
    layers: int = 2
    text_width: int = 64

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.text_width) < 1:
            raise UserError("single_frame: width, layers and text_width must be at least 1")


@dataclass(frozen=True)
class FrameTransformerConfig:
    """A causal transformer over the frames of an episode."""

    width: int = 128
    layers: int = 4  # published 4
    heads: int = 4  # published 8
    feedforward: int = 512
    frames: int = (
        48  # of a training sequence, at the model's rate; published 16, subsampled from the whole video
    )

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads, self.feedforward) < 1 or self.frames < 2:
            raise UserError("frame_transformer: sizes must be at least 1, and frames at least 2")
        if self.width % self.heads:
            raise UserError(f"frame_transformer: width={self.width} must be a multiple of heads={self.heads}")


BaselineConfig = SingleFrameConfig | FrameTransformerConfig
