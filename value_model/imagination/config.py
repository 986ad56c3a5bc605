"""Configuration of a world model. Published values stand beside ours.

Published: WorldGym, arXiv 2506.00613 (the world model of World-Gymnast, arXiv 2602.02454). The defaults are the `tiny`
preset: two CPU cores, a quarter of an hour, float32.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

import numpy as np

from envs.errors import UserError, check_choice
from envs.fields import later
from value_model.imagination.flow_config import FlowConfig
from value_model.imagination.refine_config import RefineConfig
from value_model.video.config import PRECISIONS, OptimConfig, TokenizerConfig, VideoConfig

CONFIG, WEIGHTS, STARTS, QUALITY = "config.json", "model.safetensors", "starts.safetensors", "success.json"
FILES = (CONFIG, WEIGHTS, STARTS, QUALITY)  # of a trained world model's folder
EYES = "eyes.safetensors"  # lies there too where eyes have been distilled
DYNAMICS = ("regression", "flow")
WHERE = ("first", "middle", "all")  # frames of recorded episodes that imagined ones begin at


@dataclass(frozen=True)
class HandConfig:
    """The small model of proprioception."""

    width: int = 256
    layers: int = 3
    memory: bool = False  # of how it moved over the last control step: what is blocked, or rests, stays so
    leads: bool = False  # whether the picture is told where the hand comes to
    updates: int = 0  # of the hand alone at last; until then what was recorded stands in for it
    batch: int = 128  # clips in each of them
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        if self.updates < 0 or self.batch < 1:
            raise UserError("hand.updates must not be negative, hand.batch at least 1")

    def shape(self) -> tuple[object, ...]:
        """What has to be the same where one model's weights shall be another's."""
        return self.width, self.layers, self.memory, self.leads


@dataclass(frozen=True)
class OutcomeConfig:
    """What a step draws where picture and actions leave open what happens, see `outcome`. Not published."""

    classes: int = 0  # that a step draws one of; 0: nothing is drawn, the mean of what may happen is foretold
    width: int = 256
    weight: float = 0.01  # of the divergence from what was foretold, in nats, beside both errors
    balance: float = 0.8  # share of it that trains the prior, the rest the posterior; published .8

    def __post_init__(self) -> None:
        if self.classes < 0 or self.classes == 1 or self.width < 1:
            raise UserError("outcome.classes must be 0 or at least 2, outcome.width at least 1")
        if self.weight < 0 or not 0 < self.balance < 1:
            raise UserError("outcome.weight must not be negative, outcome.balance lie between 0 and 1")


@dataclass(frozen=True)
class SolvedConfig:
    """The classifier of solved frames, and its training."""

    width: int = 128
    updates: int = 600
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    noise: float = 0.3  # largest standard deviation of noise on the latents: imagined ones are not exact
    steps: int = 0  # largest number of the model's own steps to imagined frames it learns from, too; 0: recorded ones alone
    told: bool = False  # whether it reads the instruction: tasks of one scene differ in nothing else


@dataclass(frozen=True)
class UnrollConfig:
    """How training clips are drawn and followed."""

    steps: int = 4  # of its own that the model is unrolled over in the second part of the training
    updates: int = 600  # of that part; `optim.updates` are those one step ahead
    noise: float = (
        0.1  # largest standard deviation of noise on the context; published 15 of 1000 steps at sampling
    )
    begin: float = (
        0.25  # share of clips that begin where an imagined world does: nothing is known but one frame
    )
    motion_weight: float = (
        0.0  # how much more a place counts that differs from the clip's anchor by a standard deviation
    )
    action_dropout: float = 0.1  # of all of a clip's actions; published .1


@dataclass(frozen=True)
class ImaginationConfig:
    """A world model and its training.

    dynamics: "regression" is trained one step ahead, then unrolled; "flow" on clips of `flow.window` frames, for
    `optim.updates` updates.
    """

    cameras: tuple[str, ...] = ("workspace", "wrist")  # imagined side by side; published: one view
    control_rate: float = 20.0  # control steps a second
    stride: int = 4  # control steps of one step of the world; published 1, at 5 a second
    action_dim: int = 7  # published 10
    proprio_dim: int = 8  # published: none; 0: nothing is felt
    action_low: tuple[float, ...] = later(())  # what an action of -1 stands for in the data; empty: itself
    action_high: tuple[float, ...] = later(())  # and one of 1
    horizon: int = later(
        0
    )  # control steps of the longest episode learnt from; 0: that of the simulator's task
    tokenizer: TokenizerConfig = field(
        default_factory=lambda: TokenizerConfig(channels=16, updates=800, motion_weight=4.0)
    )
    video: VideoConfig = field(
        default_factory=lambda: VideoConfig(layers=4, width=128, heads=4, feedforward=512, patch=(1, 2, 2))
    )
    hand: HandConfig = field(default_factory=HandConfig)
    outcome: OutcomeConfig = field(default_factory=OutcomeConfig)
    solved: SolvedConfig = field(default_factory=SolvedConfig)
    unroll: UnrollConfig = field(default_factory=UnrollConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(updates=1200, updates_per_dispatch=10))
    dynamics: str = later("regression")
    flow: FlowConfig = later(FlowConfig())  # noqa: RUF009  (a field, as dataclasses.field is)
    refine: RefineConfig = later(RefineConfig())  # noqa: RUF009  (of a regression's frames)

    def __post_init__(self) -> None:
        check_choice("dynamics", self.dynamics, DYNAMICS)
        hand = self.hand
        if self.dynamics == "flow" and (self.outcome.classes or hand.memory or hand.leads or hand.updates):
            raise UserError(
                "dynamics=flow draws what is open from noise: leave outcome.classes=0, hand.memory=false, hand.leads=false, "
                "hand.updates=0 (as in model=flow)"
            )
        if self.dynamics == "flow" and self.refine.steps:
            raise UserError("dynamics=flow draws its frames already: leave refine.steps=0")
        token, video = self.tokenizer, self.video
        if video.patch[0] != 1 or token.temporal != 1:
            raise UserError(
                "a world model predicts one latent frame at a time: video.patch[0] and temporal must be 1"
            )
        side = token.spatial * max(video.patch[1:])
        if token.image_size % side:
            raise UserError(f"image_size={token.image_size} must be a multiple of spatial × patch = {side}")
        if video.width % (2 * video.heads):
            raise UserError("video.width must be a multiple of twice its heads")
        if not self.cameras:
            raise UserError("cameras must name at least one camera")
        if self.optim.precision not in PRECISIONS:
            raise UserError(
                f"optim.precision={self.optim.precision!r} must be one of {', '.join(PRECISIONS)}"
            )
        for name, least in (("stride", 1), ("action_dim", 1), ("proprio_dim", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)} must be at least {least}")
        self._check_numbers()
        if self.solved.steps < 0 or self.unroll.motion_weight < 0:
            raise UserError("solved.steps and unroll.motion_weight must not be negative")
        if self.unroll.steps < 1 or self.unroll.updates < 0 or self.unroll.noise < 0:
            raise UserError("unroll.steps must be at least 1, unroll.updates and unroll.noise not negative")
        for name in ("begin", "action_dropout"):
            if not 0 <= getattr(self.unroll, name) <= 1:
                raise UserError(f"unroll.{name}={getattr(self.unroll, name)} must lie in [0, 1]")

    def _check_numbers(self) -> None:
        """Refuse a hand where nothing is felt, and ends of the actions' range that are none."""
        hand = self.hand
        if not self.proprio_dim and (hand.memory or hand.leads or hand.updates):
            raise UserError(
                "where nothing is felt (proprio_dim=0) there is no hand to train: set hand.memory=false, hand.leads=false, "
                "hand.updates=0 (as in model=tiny)"
            )
        for name in ("action_low", "action_high"):
            if len(getattr(self, name)) not in (0, self.action_dim):
                raise UserError(
                    f"{name} has {len(getattr(self, name))} numbers, an action {self.action_dim}; give as many, or none"
                )
        if bool(self.action_low) != bool(self.action_high):
            raise UserError("action_low and action_high go together; give both, or none")
        if not all(low < high for low, high in zip(self.action_low, self.action_high, strict=True)):
            raise UserError("action_low must be below action_high, number by number")

    def scaled(self, actions: np.ndarray) -> np.ndarray:
        """Actions of the data [..., A] in [-1, 1], float32; what lies beyond the range is brought to its end."""
        if self.action_low:
            low, high = np.asarray(self.action_low), np.asarray(self.action_high)
            actions = 2 * (actions - low) / (high - low) - 1
        return np.clip(actions, -1, 1).astype(np.float32)

    def going_on(self, updates: int) -> ImaginationConfig:
        """The settings of a model that is gone on from: so many updates of the kind that its training ends with."""
        if self.dynamics == "flow":
            return dataclasses.replace(self, optim=dataclasses.replace(self.optim, updates=updates))
        optim = dataclasses.replace(self.optim, updates=0)
        return dataclasses.replace(
            self, optim=optim, unroll=dataclasses.replace(self.unroll, updates=updates)
        )

    @property
    def clip_steps(self) -> int:
        """Steps of the longest clips that are trained on."""
        return self.flow.window - 1 if self.dynamics == "flow" else self.unroll.steps

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one latent frame, all cameras side by side."""
        side = self.tokenizer.image_size // self.tokenizer.spatial
        return side, side * len(self.cameras), self.tokenizer.channels

    def shape(self) -> tuple[object, ...]:
        """All that has to be the same where one model's weights shall be another's."""
        token, parts = self.tokenizer, (self.cameras, self.control_rate, self.stride)
        sizes = (token.image_size, token.channels, token.spatial, token.width)
        refined = self.refine.layers if self.refine.steps else 0
        drawn = (self.dynamics, self.outcome.classes, self.outcome.width, refined)
        ends = (self.action_low, self.action_high)
        return (*parts, self.action_dim, self.proprio_dim, ends, sizes, self.video, self.hand.shape(), drawn)


PRESETS: dict[str, ImaginationConfig] = {
    "tiny": ImaginationConfig(),
    "kitchen": ImaginationConfig(  # several tasks of one scene, with small things in it that a grasp may miss
        hand=HandConfig(memory=True, leads=True, updates=6000),
        outcome=OutcomeConfig(classes=16),
        unroll=UnrollConfig(updates=1600, motion_weight=4.0),
        solved=SolvedConfig(steps=8),
    ),
    "refined": ImaginationConfig(refine=RefineConfig(steps=1)),
    "flow": ImaginationConfig(dynamics="flow", optim=OptimConfig(updates=2400, updates_per_dispatch=10)),
    "small": ImaginationConfig(
        tokenizer=TokenizerConfig(
            image_size=128, channels=16, width=128, updates=10_000, motion_weight=4.0, updates_per_dispatch=10
        ),
        video=VideoConfig(layers=12, width=512, heads=8, feedforward=2048, patch=(1, 2, 2), text_width=256),
        hand=HandConfig(width=512),
        unroll=UnrollConfig(steps=8, updates=20_000),
        optim=OptimConfig(updates=20_000, learning_rate=3e-4, warmup=500, precision="bfloat16", remat=True),
    ),
}


def to_json(config: ImaginationConfig) -> str:
    """All settings, for `from_json`."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> ImaginationConfig:
    """What `to_json` wrote.

    Raises:
        UserError: it is damaged, or of another version.
    """
    parts = {"tokenizer": TokenizerConfig, "video": VideoConfig, "hand": HandConfig, "solved": SolvedConfig}
    parts |= {"unroll": UnrollConfig, "optim": OptimConfig}
    try:
        fields = json.loads(text)
        fields["video"]["patch"] = tuple(fields["video"]["patch"])
        made = {name: part(**fields.pop(name)) for name, part in parts.items()}
        made["outcome"] = OutcomeConfig(**fields.pop("outcome", {}))  # older models draw none
        made["flow"] = FlowConfig(**fields.pop("flow", {}))
        made["refine"] = RefineConfig(**fields.pop("refine", {}))
        for name in ("cameras", "action_low", "action_high"):
            fields[name] = tuple(fields.get(name, ()))
        return ImaginationConfig(**made, **fields)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"config.json is not a world model's ({error}); train it again") from error
