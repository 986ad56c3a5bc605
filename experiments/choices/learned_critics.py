"""The choices of `critic=` that are set beside the world value model: baselines, and a vision-language model."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from envs.errors import UserError
from envs.types import Episode
from experiments.choices.critics import (
    VERSION,
    CriticData,
    CriticSource,
    Progress,
    Workshop,
    saved_cameras,
    saved_digests,
)
from experiments.choices.wvm_critics import learns_from
from experiments.lab.artifacts import digest
from experiments.settings.config import require
from value_model.chat.client import ConnectionConfig, check_installed
from value_model.critic.baselines.config import BaselineConfig, FrameTransformerConfig, SingleFrameConfig
from value_model.critic.config import WVMConfig
from value_model.critic.gvl.critic import GVL, GVLConfig
from value_model.critic.gvl.question import VERSION as PROMPT
from value_model.critic.types import Critic, TrainedCritic
from value_model.video.frames import Episodes


class BaselineChoice:
    """What the choices of the baselines have in common; abstract."""

    path: str
    tokenizer: str
    data: CriticData
    model: WVMConfig
    network: BaselineConfig
    seed: int

    blind = ""
    part = "baseline"

    @property
    def at_hand(self) -> bool:
        """See `TrainableChoice`."""
        return bool(self.path)

    @property
    def about(self) -> str:
        """See `TrainableChoice`."""
        return f"A baseline beside the world value model. {inspect.getdoc(self.network)} {learns_from(self.model)}"

    def check(self, episodes: Sequence[Episode]) -> None:
        """See `CriticChoice`: the files are there."""
        if self.at_hand:
            self._origin()

    def views(self) -> tuple[str, ...]:
        """See `CriticChoice`."""
        if self.at_hand:
            return saved_cameras(Path(self.path), "beside")
        return saved_cameras(Path(self.tokenizer)) if self.tokenizer else self.model.cameras

    def source(self, workshop: Workshop) -> CriticSource:
        """See `CriticChoice`."""
        if not self.at_hand:
            return workshop.trained(self)
        return CriticSource(self._origin(), lambda: self.load(Path(self.path)))

    def recipe(self) -> Mapping[str, Any]:
        """See `TrainableChoice`."""
        given = saved_digests(Path(self.tokenizer), "world value model") if self.tokenizer else []
        return {"model": self.model, "network": self.network, "seed": self.seed, "tokenizer": given}

    def train(self, episodes: Episodes, folder: Path, progress: Progress) -> TrainedCritic:
        """See `TrainableChoice`."""
        from value_model.critic.baselines.critic import train_baseline
        from value_model.critic.wvm import load_wvm

        model, tokenizer = self.model, None
        if self.tokenizer:
            given = load_wvm(Path(self.tokenizer))
            model = replace(model, tokenizer=given.config.tokenizer, cameras=given.config.cameras)
            tokenizer = given.tokenizer
        return train_baseline(self.network, model, episodes, folder, self.seed, progress, tokenizer)

    def load(self, folder: Path) -> Critic:
        """See `TrainableChoice`.

        Raises:
            UserError: the folder holds no baseline of this kind.
        """
        from value_model.critic.baselines.critic import load_baseline

        critic = load_baseline(folder)
        if type(critic.kind) is not type(self.network):
            kind = type(critic.kind).__name__
            raise UserError(f"{folder} holds another kind of baseline ({kind}); choose that kind")
        return critic

    def _origin(self) -> str:
        return digest([self.part, VERSION, *saved_digests(Path(self.path), "baseline critic")])


@dataclass(frozen=True)
class SingleFrameChoice(BaselineChoice):
    """Regression of progress from one frame. `model` is the world value model whose data and budget it shares."""

    path: str = (
        ""  # a folder of `experiments.train_critic` to load; empty: trained on the task's own episodes
    )
    tokenizer: str = ""  # the folder of a world value model whose tokenizer to use; empty: one is trained
    data: CriticData = field(default_factory=CriticData)
    model: WVMConfig = field(default_factory=WVMConfig)
    network: SingleFrameConfig = field(default_factory=SingleFrameConfig)
    seed: int = 0


@dataclass(frozen=True)
class FrameTransformerChoice(BaselineChoice):
    """A causal transformer over frames, trained with rewound videos (ReWiND). The settings are `SingleFrameChoice`'s."""

    path: str = ""
    tokenizer: str = ""
    data: CriticData = field(default_factory=CriticData)
    model: WVMConfig = field(default_factory=WVMConfig)
    network: FrameTransformerConfig = field(default_factory=FrameTransformerConfig)
    seed: int = 0


@dataclass(frozen=True)
class GVLChoice:
    """A vision-language model behind an OpenAI-compatible endpoint, asked as GVL does."""

    vlm: GVLConfig = field(default_factory=GVLConfig)
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    answers: str = "outputs/vlm_answers"  # finished answers are kept here and never asked for again

    blind = ""

    def __post_init__(self) -> None:
        require(
            bool(self.vlm.model),
            "critic=gvl needs a model: critic.vlm.model=… and, unless it is OpenAI's, critic.vlm.base_url=http://…/v1",
        )
        check_installed()

    def check(self, episodes: Sequence[Episode]) -> None:
        """See `CriticChoice`: its settings have been checked."""

    def views(self) -> tuple[str, ...]:
        """See `CriticChoice`."""
        return (self.vlm.camera,)

    def source(self, workshop: Workshop) -> CriticSource:
        """See `CriticChoice`; misses are reported on stderr."""
        return CriticSource(digest(["gvl", PROMPT, self.vlm]), self._make)

    def _make(self) -> GVL:
        return GVL(
            self.vlm, Path(self.answers), self.connection, lambda line: print(f"  {line}", file=sys.stderr)
        )
