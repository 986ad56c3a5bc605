"""Critics from anywhere, `critic=package.module:name`: a choice of `critic=` around a user's function, class or object.

The fields of a dataclass are settings. What has `train(episodes, folder, progress)`, which gives the trained critic, and
`load(folder)`, which gives one that was saved, is trained as the built-in critics are: on `critic.data`, or by
`experiments.train_critic` on the whole mixture.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from envs.errors import UserError
from envs.types import Episode
from experiments.choices.critics import CriticData, CriticSource, Progress, Workshop
from experiments.lab.artifacts import digest, file_digest
from experiments.settings.plugins import reference_digest, resolve
from value_model.critic.check import check_critic, check_kept
from value_model.critic.outside import (
    as_trained,
    made,
    outside_critic,
    own_cameras,
    reads_episodes_alone,
    value_function,
)
from value_model.critic.types import Critic, TrainedCritic
from value_model.video.frames import Episodes, watch

CAMERA = "workspace"


@dataclass(frozen=True)
class PluginChoice:
    """What the choices of critics from outside have in common; abstract. Subclasses have the user's settings as fields."""

    module: str = ""
    camera: str = CAMERA  # the view that `values` is given, unless the critic has `cameras` of its own

    kind = "PluginCritic"

    @property
    def blind(self) -> str:
        """See `CriticChoice`."""
        alone = reads_episodes_alone(resolve(self.module))
        return f"critic={self.module} has no values(frames, instruction)" if alone else ""

    def thing(self) -> Any:
        """The user's function or object.

        Raises:
            UserError: it cannot be made, or `critic.camera` is set although it says itself what it sees.
        """
        thing = made(resolve(self.module), self.module, self._settings())
        chooses = reads_episodes_alone(thing) or own_cameras(thing, self.module) is not None
        if chooses and self.camera != CAMERA and "camera" not in self._settings():
            raise UserError(
                f"critic.camera={self.camera}: {self.module} says itself what it sees; leave it out"
            )
        return thing

    def views(self) -> tuple[str, ...]:
        """See `CriticChoice`."""
        thing = self.thing()
        return own_cameras(thing, self.module) or (() if reads_episodes_alone(thing) else (self.camera,))

    def described(self) -> list[Any]:
        """All that it is, for a digest: its name and settings, and its source file."""
        chosen = {"kind": self.kind, "module": self.module, "camera": self.camera, **self._settings()}
        return [chosen, reference_digest(self.module)]

    def _settings(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in own_fields(resolve(self.module))}


@dataclass(frozen=True)
class PluginCritic(PluginChoice):
    """A critic from outside that is ready to judge."""

    def check(self, episodes: Sequence[Episode]) -> None:
        """See `CriticChoice`: it is tried on these episodes."""
        check_critic(self.thing(), episodes, self.module, self.camera)

    def source(self, workshop: Workshop) -> CriticSource:
        """See `CriticChoice`."""
        return CriticSource(
            digest(self.described()), lambda: outside_critic(self.thing(), self.module, self.camera)
        )


@dataclass(frozen=True)
class TrainablePlugin(PluginChoice):
    """A critic from outside that is trained."""

    path: str = (
        ""  # a folder of `experiments.train_critic` to load; empty: trained on the task's own episodes
    )
    data: CriticData = field(default_factory=CriticData)

    part = "plugin"

    @property
    def at_hand(self) -> bool:
        """See `TrainableChoice`."""
        return bool(self.path)

    @property
    def about(self) -> str:
        """See `TrainableChoice`."""
        return f"`{self.module}`: {inspect.getdoc(resolve(self.module)) or 'a critic from outside.'}"

    def check(self, episodes: Sequence[Episode]) -> None:
        """See `CriticChoice`: it can be made; a saved one is tried on these episodes."""
        thing = self.thing()
        if self.at_hand:
            check_critic(self._loaded(thing, Path(self.path)), episodes, self.module, self.camera)

    def source(self, workshop: Workshop) -> CriticSource:
        """See `CriticChoice`."""
        if not self.at_hand:
            return workshop.trained(self)
        folder = Path(self.path)
        if not folder.is_dir():
            raise UserError(f"no critic in {folder}; check critic.path")
        return CriticSource(digest([*self.described(), file_digest(folder)]), lambda: self.load(folder))

    def recipe(self) -> Mapping[str, Any]:
        """See `TrainableChoice`."""
        return {"critic": self.described()}

    def train(self, episodes: Episodes, folder: Path, progress: Progress) -> TrainedCritic:
        """See `TrainableChoice`; what comes of it is checked on its first episodes, and kept and loaded once.

        Raises:
            UserError: it is no critic, or gives other values when it is loaded.
        """
        folder.mkdir(parents=True, exist_ok=True)
        thing = self.thing()
        watched = Watched(episodes, own_cameras(thing, self.module))
        trained = thing.train(watched, folder, progress)
        critic = as_trained(trained, self.module, self.camera)
        first = list(itertools.islice(watched, 2))
        check_critic(trained, first, self.module, self.camera)
        check_kept(critic, self.load, first, self.module)
        return critic

    def load(self, folder: Path) -> Critic:
        """See `TrainableChoice`."""
        return outside_critic(self._loaded(self.thing(), folder), self.module, self.camera)

    def _loaded(self, thing: Any, folder: Path) -> Any:
        if not folder.is_dir():
            raise UserError(f"no critic in {folder}; check critic.path")
        loaded = thing.load(folder)
        if loaded is None:
            raise UserError(f"{self.module}.load gave nothing; it must return the critic that was saved")
        return loaded


@dataclass(frozen=True)
class Watched:
    """Episodes, as often as they are asked for; of stores, only the frames of `cameras` are decoded (None: of all)."""

    episodes: Episodes
    cameras: tuple[str, ...] | None

    def __iter__(self) -> Iterator[Episode]:
        return watch(self.episodes, self.cameras)


def plugin_choice(reference: str) -> type[PluginCritic] | type[TrainablePlugin]:
    """The choice for a user's critic, with its settings as fields.

    Raises:
        UserError: it cannot be imported, is nothing that gives values, or has a setting of a name that is taken.
    """
    thing = resolve(reference)
    trained = callable(getattr(thing, "train", None)) and callable(getattr(thing, "load", None))
    base = TrainablePlugin if trained else PluginCritic
    if not (trained or isinstance(thing, type) or reads_episodes_alone(thing)):
        value_function(thing, reference)
    taken = {item.name for item in dataclasses.fields(base)} - {"camera"}
    fields: list[Any] = [("module", str, field(default=reference))]
    for item in own_fields(thing):
        if item.name in taken:
            raise UserError(
                f"{reference} has a setting {item.name!r}, which critic.{item.name} is not; rename it"
            )
        kept = field(default=item.default, default_factory=item.default_factory)  # type: ignore[call-overload]
        fields.append((item.name, _types(thing, reference)[item.name], kept))
    return dataclasses.make_dataclass(
        base.__name__, fields, bases=(base,), frozen=True, kw_only=True, namespace={"__module__": __name__}
    )


def own_fields(thing: Any) -> list[dataclasses.Field]:
    """The settings of a dataclass; anything else has none."""
    if not (isinstance(thing, type) and dataclasses.is_dataclass(thing)):
        return []
    return [item for item in dataclasses.fields(thing) if item.init]


def _types(thing: type, reference: str) -> dict[str, Any]:
    try:
        return get_type_hints(thing)
    except (NameError, TypeError) as error:
        raise UserError(f"{reference}: the type of a setting cannot be found: {error}") from error
