"""Configuration of the world value model. The published value of each hyperparameter stands beside ours.

Published: "World Value Models for Robotic Manipulation", arXiv 2606.24742, on Wan2.2-TI2V-5B. The defaults are
the `tiny` preset: two CPU cores, a few minutes, float32.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

from envs.errors import UserError, check_choice
from envs.fields import later
from value_model.video.config import PRECISIONS, OptimConfig, TokenizerConfig, VideoConfig

HEADS = ("flow", "hl_gauss")
MISMATCHED = ("zero", "unknown")


@dataclass(frozen=True)
class ValueConfig:
    """The value DiT: as deep as the video DiT, narrower."""

    width: int = 64  # published 512
    heads: int = 4  # of its cross-attention; published 8
    feedforward: int = 256  # published 14336
    head: str = "flow"  # "flow": flow matching of the value chunk; "hl_gauss": a histogram for each value
    bins: int = 51  # of the histogram; published 51
    sigma: float = 1.0  # width of the smoothed target, in bins; published 1


@dataclass(frozen=True)
class ClipConfig:
    """What the model sees at once, and how training clips are drawn."""

    horizon: int = 4  # h, frames in the current and in the future chunk; published 4
    fps: float = 5.0  # published 2, or 3; our episodes last 4 s, theirs 24 s
    prefix_random: float = 0.5  # probability that the prefix value is replaced by U[0,1]; published .5
    future: bool = True  # whether the model imagines the next chunk; without it there is no L_video
    marked: bool = True  # learn from marked hesitations and retries too; published: from experts alone
    focus: float = 0.0  # share of the clips that are drawn around marked lapses; published 0
    rewind: float = 0.5  # share of the clips that are not played forward; published .5
    plateau: float = 0.1  # share of all clips that repeat one frame; published .1
    mismatched: float = later(0.0)  # share of all clips that are told another task's instruction; published 0
    mismatched_value: str = later("zero")  # of those; "unknown": only the video is learnt from them


@dataclass(frozen=True)
class InferenceConfig:
    """How values are read off a trained model."""

    precision: str = "float32"  # of matrix products and activations; published bfloat16
    steps: int = 1  # of Euler's method from noise to value; published 1
    shift: int = 1  # frames of the model's rate from one window to the next; horizon: windows do not overlap


@dataclass(frozen=True)
class WVMConfig:
    """A world value model and its training."""

    cameras: tuple[str, ...] = ("workspace", "wrist")  # seen side by side; published: one view
    data_fps: float = 20.0  # of the frames that `values` is given unless it is told otherwise
    causal_video: bool = True  # current video tokens do not see the noised future; Wan's attention is full
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    value: ValueConfig = field(default_factory=ValueConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)

    def __post_init__(self) -> None:
        token, video, clip = self.tokenizer, self.video, self.clip
        if clip.horizon % (token.temporal * video.patch[0]):
            raise UserError(
                f"horizon={clip.horizon} must be a multiple of temporal × patch[0] = {token.temporal * video.patch[0]}"
            )
        side = token.spatial * max(video.patch[1:])
        if token.image_size % side:
            raise UserError(f"image_size={token.image_size} must be a multiple of spatial × patch = {side}")
        if video.width % (2 * video.heads) or self.value.width % self.value.heads:
            raise UserError(
                "the width of a stream must be a multiple of its heads (and even per head for video)"
            )
        if not self.cameras:
            raise UserError("cameras must name at least one camera")
        if self.optim.freeze_video and not self.optim.video_updates:
            raise UserError("freeze_video needs a trained video stream: set video_updates")
        if self.optim.video_updates and not clip.future:
            raise UserError("video_updates needs clip.future=true: there is no other video loss")
        if self.value.head not in HEADS:
            raise UserError(f"value.head={self.value.head!r} must be one of {', '.join(HEADS)}")
        for name, precision in (("optim", self.optim.precision), ("inference", self.inference.precision)):
            if precision not in PRECISIONS:
                raise UserError(f"{name}.precision={precision!r} must be one of {', '.join(PRECISIONS)}")
        if self.optim.accumulate < 1 or self.optim.batch % self.optim.accumulate:
            raise UserError(
                f"optim.batch={self.optim.batch} must be a multiple of optim.accumulate={self.optim.accumulate}"
            )
        if self.inference.steps < 1 or not 1 <= self.inference.shift <= clip.horizon:
            raise UserError("inference.steps must be at least 1, and inference.shift between 1 and horizon")
        for name in ("focus", "mismatched"):
            if not 0 <= getattr(clip, name) <= 1:
                raise UserError(f"clip.{name}={getattr(clip, name)} must lie in [0, 1]")
        check_choice("clip.mismatched_value", clip.mismatched_value, MISMATCHED)
        if clip.rewind < clip.plateau or not 0 <= clip.rewind <= 1 or not 0 <= clip.prefix_random <= 1:
            raise UserError(
                "rewind and prefix_random must lie in [0, 1], and rewind must be at least plateau"
            )

    @property
    def sees_future(self) -> bool:
        """Whether the current video tokens attend to the noised future ones."""
        return self.clip.future and not self.causal_video

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one latent."""
        side = self.tokenizer.image_size // self.tokenizer.spatial
        return side, side * len(self.cameras), self.tokenizer.channels


PRESETS: dict[str, WVMConfig] = {
    "tiny": WVMConfig(),
    "small": WVMConfig(
        tokenizer=TokenizerConfig(
            image_size=128, channels=16, width=128, updates=5_000, batch=256, frames=200_000
        ),
        video=VideoConfig(layers=12, width=768, heads=12, feedforward=3072, text_width=256, time_width=256),
        value=ValueConfig(width=256, heads=4, feedforward=1024),
        optim=OptimConfig(
            updates=30_000,
            batch=512,
            learning_rate=2e-4,
            warmup=500,
            precision="bfloat16",
            checkpoint_every=1_000,
        ),
        inference=InferenceConfig(precision="bfloat16"),
    ),
    "wan2_2_ti2v_5b": WVMConfig(
        cameras=("workspace",),
        causal_video=False,
        tokenizer=TokenizerConfig(image_size=256, channels=48, spatial=16, temporal=4, updates=0),
        video=VideoConfig(
            layers=30,
            width=3072,
            heads=24,
            feedforward=14336,
            patch=(1, 2, 2),
            text_width=4096,
            text_tokens=512,
            time_width=256,
        ),
        value=ValueConfig(width=512, heads=8, feedforward=14336),
        clip=ClipConfig(fps=2.0),
        optim=OptimConfig(
            updates=30_000,
            batch=1024,
            learning_rate=1e-4,
            warmup=500,
            precision="bfloat16",
            remat=True,
            checkpoint_every=500,
        ),
        inference=InferenceConfig(precision="bfloat16"),
    ),
}


def to_json(config: WVMConfig) -> str:
    """The configuration as JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=1, sort_keys=True)


def from_json(text: str) -> WVMConfig:
    """The configuration that `to_json` wrote.

    Raises:
        UserError: not JSON, or with other fields than this version's.
    """
    try:
        fields = json.loads(text)
        parts = {
            "tokenizer": TokenizerConfig(**fields.pop("tokenizer")),
            "video": VideoConfig(**{**(video := fields.pop("video")), "patch": tuple(video["patch"])}),
            "value": ValueConfig(**fields.pop("value")),
            "clip": ClipConfig(**fields.pop("clip")),
            "optim": OptimConfig(**fields.pop("optim")),
            "inference": InferenceConfig(**fields.pop("inference")),
        }
        return WVMConfig(**{**fields, "cameras": tuple(fields["cameras"])}, **parts)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(
            f"not a configuration of this version's world value model ({error}); train it again"
        ) from error
