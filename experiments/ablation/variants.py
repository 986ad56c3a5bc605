"""The ablations of the value model: settings alone, on one frozen tokenizer, one set of latents and one budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from envs.errors import check_choice
from experiments.settings.config import WandbConfig, require
from experiments.stages.mixture import CriticMixture
from experiments.value_benchmark.episodes import BenchData
from value_model.critic.config import WVMConfig


@dataclass(frozen=True)
class Variant:
    """What differs from the full model, and the published figures of the same change.

    published: Hesitation-RMSE, Retry-VOC and Expert-VOC of arXiv 2606.24742, section 5.3 and appendix F.
    """

    settings: Mapping[str, Any]
    published: tuple[float, float, float] | None = None


VARIANTS: dict[str, Variant] = {
    "full": Variant({}, (0.05, 0.78, 0.95)),
    "experts_alone": Variant({"clip.marked": False}),
    "uniform_clips": Variant({"clip.focus": 0.0}),
    "no_video_loss": Variant({"optim.video_weight": 0.0}, (0.08, 0.68, 0.95)),
    "pretrained_video": Variant({"optim.video_updates": 0}),
    "frozen_video": Variant({"optim.video_updates": 0, "optim.freeze_video": True}, (0.12, 0.45, 0.92)),
    "prefix_0": Variant({"clip.prefix_random": 0.0}, (0.09, 0.67, 0.98)),
    "prefix_1": Variant({"clip.prefix_random": 1.0}, (0.05, 0.75, 0.91)),
    "hl_gauss": Variant({"value.head": "hl_gauss"}, (0.06, 0.59, 0.87)),
    "no_rewind": Variant({"clip.rewind": 0.0, "clip.plateau": 0.0}),
    "full_attention": Variant({"causal_video": False}),
    "no_future": Variant({"causal_video": False, "clip.future": False}),
    "horizon_2": Variant({"clip.horizon": 2, "video.patch": (2, 4, 4)}),
    "horizon_8": Variant({"clip.horizon": 8}),
    "euler_4": Variant({"inference.steps": 4}),
    "euler_16": Variant({"inference.steps": 16}),
    "no_overlap": Variant({"inference.shift": 4}),
}


@dataclass(frozen=True)
class AblateConfig:
    """Which variants, with what budget, on which data.

    base: folder of a trained value model, whose tokenizer and configuration all variants start from; empty: the one
    that ships.
    """

    variants: tuple[str, ...] = tuple(VARIANTS)
    seeds: tuple[int, ...] = (0, 1, 2)
    updates: int = 1500  # of both streams, for every variant
    video_updates: int = 750  # of the video stream alone, before them, for those that are pretrained
    batch: int = 32
    base: str = ""
    mixture: CriticMixture = field(default_factory=lambda: CriticMixture(robots=("Panda",)))
    bench: BenchData = field(default_factory=BenchData)
    group: str = "robosuite"  # of the benchmark's trajectories
    wandb: WandbConfig = field(default_factory=WandbConfig)
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        for name in self.variants:
            check_choice("variant", name, VARIANTS)
        require(bool(self.variants) and bool(self.seeds), "variants and seeds must not be empty")
        require(min(self.updates, self.video_updates, self.batch) >= 1, "updates and batch must be positive")

    def model(self, name: str, base: WVMConfig) -> WVMConfig:
        """The configuration of a variant."""
        optim = replace(base.optim, updates=self.updates, batch=self.batch)
        settings = dict(VARIANTS[name].settings)
        if "optim.video_updates" in settings:
            settings["optim.video_updates"] = self.video_updates
        return with_settings(replace(base, optim=optim), settings)


def with_settings(config: WVMConfig, settings: Mapping[str, Any]) -> WVMConfig:
    """The configuration with some settings changed, each given by its dotted name."""
    parts: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    for name, value in settings.items():
        part, _, leaf = name.partition(".")
        if leaf:
            parts.setdefault(part, {})[leaf] = value
        else:
            top[part] = value
    known = {item.name for item in fields(config) if is_dataclass(getattr(config, item.name))}
    assert set(parts) <= known, f"no such parts: {set(parts) - known}"
    changed = {part: replace(getattr(config, part), **values) for part, values in parts.items()}
    return replace(config, **changed, **top)
