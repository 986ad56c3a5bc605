"""The choices `critic=wvm` and `critic=train`: the world value model, from a folder or trained on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import value_model
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
from experiments.lab.artifacts import digest, file_digest
from experiments.settings.config import require
from value_model.critic.config import PRESETS, WVMConfig, from_json
from value_model.critic.looking import LookingThrough
from value_model.critic.types import Critic, TrainedCritic
from value_model.imagination.config import STARTS
from value_model.joint.config import CRITIC, CRITIC_WEIGHTS, has_critic, require_critic
from value_model.video.frames import Episodes

TINY_CRITIC = Path(value_model.__path__[0]) / "critic" / "shipped"
SHIPPED = "shipped"  # critic.init=shipped


@dataclass(frozen=True)
class WVMChoice:
    """A trained world value model: the one that ships, or that in a folder of `experiments.train_critic`, or of
    `experiments.train_world_model critic.joint=true`.
    """

    path: str = ""  # of the folder; empty: the critic that ships
    cameras: tuple[str, ...] = ()  # of the data, in the order of its own views; empty: of the same names

    blind = ""

    def check(self, episodes: Sequence[Episode]) -> None:
        """See `CriticChoice`: the files are there, and as many cameras as it has views."""
        self._origin()
        own = saved_cameras(self._folder())
        require(
            len(self.cameras) in (0, len(own)),
            f"critic.cameras names {len(self.cameras)} cameras, the critic has {len(own)} views ({', '.join(own)}); "
            "name one for each, the same again if need be",
        )

    def views(self) -> tuple[str, ...]:
        """See `CriticChoice`."""
        return self.cameras or saved_cameras(self._folder())

    def source(self, workshop: Workshop) -> CriticSource:
        """See `CriticChoice`."""
        return self.saved()

    def saved(self) -> CriticSource:
        """The critic in the folder."""
        self.check(())
        origin = self._origin()
        return CriticSource(digest([origin, self.cameras]) if self.cameras else origin, self._load)

    def _origin(self) -> str:
        folder = self._folder()
        if (folder / STARTS).is_file():  # of a world model
            require_critic(folder)
        own = [file_digest(folder / name) for name in (CRITIC, CRITIC_WEIGHTS) if has_critic(folder)]
        return digest(["wvm", VERSION, *saved_digests(folder, "world value model"), *own])

    def _load(self) -> Critic:
        from value_model.critic.wvm import load_wvm
        from value_model.joint.critic import load_joint_critic

        folder = self._folder()
        critic = load_joint_critic(folder) if has_critic(folder) else load_wvm(folder)
        return LookingThrough(critic, self.cameras) if self.cameras else critic

    def _folder(self) -> Path:
        return Path(self.path) if self.path else TINY_CRITIC


@dataclass(frozen=True)
class TrainChoice:
    """A world value model, trained on episodes of the task whose true values are known."""

    init: str = ""  # the folder of a trained one to go on from, with its sizes; "shipped": the one that ships; empty: anew
    cameras: tuple[str, ...] = ()  # that it looks through, side by side; empty: those of model.cameras
    data: CriticData = field(default_factory=CriticData)
    model: WVMConfig = field(default_factory=WVMConfig)
    seed: int = 0

    blind = ""
    part = "wvm"
    over = "jax"
    at_hand = False

    @property
    def about(self) -> str:
        """See `TrainableChoice`."""
        return f"""The world value model (`critic=train`) is a video DiT and a value DiT with joint attention, trained by
flow matching, after "World Value Models for Robotic Manipulation" (arXiv 2606.24742). {learns_from(self.model)}"""

    def check(self, episodes: Sequence[Episode]) -> None:
        """See `CriticChoice`: what it goes on from is there, and is of the sizes that are asked for."""
        self.start()

    def views(self) -> tuple[str, ...]:
        """See `CriticChoice`."""
        return self.cameras or self.model.cameras

    def source(self, workshop: Workshop) -> CriticSource:
        """See `CriticChoice`."""
        return workshop.trained(self)

    def recipe(self) -> Mapping[str, Any]:
        """See `TrainableChoice`."""
        start = {"init": saved_digests(self._origin, "world value model")} if self.init else {}
        return {"model": replace(self.model, cameras=self.views()), "seed": self.seed, **start}

    def train(self, episodes: Episodes, folder: Path, progress: Progress) -> TrainedCritic:
        """See `TrainableChoice`."""
        from value_model.critic.train import continued, train_wvm
        from value_model.critic.wvm import load_wvm

        model = replace(self.model, cameras=self.views())
        if not self.init:
            return train_wvm(episodes, model, folder, self.seed, progress)
        start = load_wvm(self._origin)
        return train_wvm(episodes, continued(model, start.config), folder, self.seed, progress, start)

    def load(self, folder: Path) -> Critic:
        """See `TrainableChoice`."""
        from value_model.critic.wvm import load_wvm

        return load_wvm(folder)

    def start(self) -> WVMConfig | None:
        """The configuration of the model that it goes on from; None: it is trained anew.

        Raises:
            UserError: there is no such model, or the settings ask for other sizes than it has.
        """
        if not self.init:
            return None
        saved_digests(self._origin, "world value model", "critic.init")
        saved = from_json((self._origin / "config.json").read_text())
        for name in ("tokenizer", "video", "value"):
            wanted = getattr(self.model, name)
            asked = all(wanted != getattr(preset, name) for preset in PRESETS.values())
            require(
                not asked or wanted == getattr(saved, name),
                f"critic.init brings its own sizes: leave out critic.model.{name}, or critic.init to train anew",
            )
        return saved

    @property
    def _origin(self) -> Path:
        return TINY_CRITIC if self.init == SHIPPED else Path(self.init)


def learns_from(model: WVMConfig) -> str:
    """What a model of this configuration reads, and which episodes it has values of."""
    cameras = f"It reads frames of {', '.join(model.cameras)} and an instruction."
    if model.clip.marked:
        return f"{cameras} Values of hesitations and retries follow from the exact ends that the controller recorded."
    return f"{cameras} Only undisturbed experts have values; of all other episodes only the video is learned."
