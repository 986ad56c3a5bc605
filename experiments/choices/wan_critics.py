"""The choice `critic=wan`: a world value model on Wan2.2's published weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from envs.errors import UserError
from envs.store import Store
from envs.types import Episode
from experiments.choices.critics import (
    VERSION,
    CriticData,
    CriticSource,
    Progress,
    Workshop,
    saved_cameras,
)
from experiments.choices.wvm_critics import learns_from
from experiments.lab.artifacts import digest, file_digest
from experiments.settings.config import require
from value_model.critic.config import PRESETS, WVMConfig
from value_model.critic.types import Critic, TrainedCritic
from value_model.video.frames import Episodes


@dataclass(frozen=True)
class WanChoice:
    """A world value model whose video stream starts from Wan2.2-TI2V-5B: its clips are encoded once, then it trains.

    weights: the diffusers folder, with transformer, vae, text_encoder and tokenizer; the published recipe learns from
    experts alone (`model.clip.marked=false`).
    """

    weights: str = ""
    path: str = ""  # of a trained one (`experiments.train_critic critic=wan`); empty: trained
    init: str = ""  # of a trained one to go on from; empty: from Wan2.2's weights
    variants: int = 1  # draws of the rewinding of every window
    data: CriticData = field(default_factory=CriticData)
    model: WVMConfig = field(default_factory=lambda: PRESETS["wan2_2_ti2v_5b"])
    seed: int = 0

    blind = ""
    part = "wan"
    over = "jax"

    def __post_init__(self) -> None:
        require(
            bool(self.weights),
            "critic=wan needs the diffusers folder of Wan2.2-TI2V-5B: critic.weights=/path/to/it",
        )

    @property
    def at_hand(self) -> bool:
        """See `TrainableChoice`."""
        return bool(self.path)

    @property
    def about(self) -> str:
        """See `TrainableChoice`."""
        return f"A world value model whose video stream starts from Wan2.2-TI2V-5B. {learns_from(self.model)}"

    def check(self, episodes: Sequence[Episode]) -> None:
        """See `CriticChoice`: the folders are there."""
        for name in ("weights", "path", "init"):
            folder = getattr(self, name)
            if folder and not Path(folder).is_dir():
                raise UserError(f"no folder {folder}; check critic.{name}")
        self.start()

    def views(self) -> tuple[str, ...]:
        """See `CriticChoice`."""
        return saved_cameras(Path(self.path)) if self.at_hand else self.model.cameras

    def source(self, workshop: Workshop) -> CriticSource:
        """See `CriticChoice`."""
        if not self.at_hand:
            return workshop.trained(self)
        return CriticSource(self._origin(), lambda: self.load(Path(self.path)))

    def recipe(self) -> Mapping[str, Any]:
        """See `TrainableChoice`."""
        from value_model.critic.wan.encode import encoding_settings

        encoders = encoding_settings(self.model, Path(self.weights))
        start = {"init": file_digest(Path(self.init))} if self.init else {}
        return {
            "model": self.model,
            "seed": self.seed,
            "variants": self.variants,
            "encoders": encoders,
            **start,
        }

    def train(self, episodes: Episodes, folder: Path, progress: Progress) -> TrainedCritic:
        """See `TrainableChoice`; `folder` keeps the encoded clips and the checkpoints."""
        from value_model.critic.train import continued
        from value_model.critic.wan.encode import encode_clips
        from value_model.critic.wan.train import train_wan
        from value_model.video import hosts

        saved, weights = self.start(), Path(self.weights)
        model = self.model if saved is None else continued(self.model, saved)
        origin = Path(self.init) if self.init else None
        stores = [store for store in episodes if isinstance(store, Store)]
        encode = partial(
            encode_clips, stores, weights, model, folder / "clips", seed=self.seed, variants=self.variants
        )
        clips = encode(worker=hosts.share())
        hosts.meet()
        clips = encode() if clips is None else clips
        assert clips is not None, "all have been encoded"
        return train_wan(clips, weights, model, folder / "training", self.seed, progress, start=origin)

    def load(self, folder: Path) -> Critic:
        """See `TrainableChoice`."""
        from value_model.critic.wan.critic import load_wan_critic

        return load_wan_critic(folder, Path(self.weights))

    def start(self) -> WVMConfig | None:
        """The configuration of the model that it goes on from; None: it starts from Wan2.2's weights.

        Raises:
            UserError: there is no such model, or it was trained with other encoders.
        """
        if not self.init:
            return None
        from value_model.critic.wan.critic import saved_wan_config

        return saved_wan_config(Path(self.init), Path(self.weights))

    def _origin(self) -> str:
        files = sorted(Path(self.path).iterdir()) if Path(self.path).is_dir() else []
        facts = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        return digest([self.part, VERSION, facts, self.weights])
