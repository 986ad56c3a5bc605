"""The choices of `critic=` that see no pictures: the simulator's state, frame numbers, another tool's values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from envs.errors import UserError
from envs.types import Episode
from experiments.choices.critics import VERSION, CriticData, CriticSource, Demonstrations, Workshop
from experiments.choices.oracle import Oracle, features
from experiments.lab.artifacts import digest, file_digest
from experiments.settings.config import require
from value_model.critic.types import Critic


@dataclass(frozen=True)
class StateCritic:
    """An oracle for each combination of task and robot; a single one judges all that it is shown."""

    oracles: Mapping[str, Oracle]

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] of every episode, from the simulator's state."""
        only = next(iter(self.oracles.values())) if len(self.oracles) == 1 else None
        return ((only or self.oracles[_world(episode)]).values(episode) for episode in episodes)


def _world(episode: Episode) -> str:
    return f"{episode.task}-{episode.robot}"


@dataclass(frozen=True)
class TimeIndex:
    """Frame number over episode length."""

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        for episode in episodes:
            yield np.linspace(0, 1, len(episode), dtype=np.float32)


@dataclass(frozen=True)
class OracleChoice:
    """True progress from the simulator's state: the upper bound of what a critic can give."""

    data: CriticData = field(default_factory=CriticData)

    blind = "critic=oracle reads the simulator's state"

    def check(self, episodes: Sequence[Episode]) -> None:
        """See `CriticChoice`: the episodes have the simulator's state."""
        for episode in episodes:
            features(episode)

    def views(self) -> tuple[str, ...]:
        """See `CriticChoice`."""
        return ()

    def source(self, workshop: Workshop) -> CriticSource:
        """See `CriticChoice`: it knows undisturbed demonstrations of every combination of task and robot."""
        known = workshop.demonstrations(self.data)
        return CriticSource(
            digest(["oracle", VERSION, *(part.digest for part in known.values())]),
            lambda: StateCritic({world: Oracle.fit(_undisturbed(part)) for world, part in known.items()}),
        )


def _undisturbed(known: Demonstrations) -> Iterator[Episode]:
    return (episode for episode in known.numbers() if not episode.segments)


@dataclass(frozen=True)
class TimeIndexChoice:
    """Frame number over episode length: what a critic is worth that sees nothing."""

    blind = "critic=time_index counts frames"

    def check(self, episodes: Sequence[Episode]) -> None:
        """See `CriticChoice`: nothing can be wrong."""

    def views(self) -> tuple[str, ...]:
        """See `CriticChoice`."""
        return ()

    def source(self, workshop: Workshop) -> CriticSource:
        """See `CriticChoice`."""
        return CriticSource("time_index", TimeIndex)


@dataclass(frozen=True)
class SidecarChoice:
    """Values that another tool wrote: a progress file in LeRobot's format (`sarm_progress.parquet`)."""

    path: str = ""

    blind = "critic=sidecar is a file with the values of one data set"

    def __post_init__(self) -> None:
        require(
            bool(self.path),
            "critic=sidecar needs a progress file: critic.path=/path/to/sarm_progress.parquet",
        )

    def check(self, episodes: Sequence[Episode]) -> None:
        """See `CriticChoice`: the file is there."""
        if not Path(self.path).is_file():
            raise UserError(f"no progress file {self.path}; check critic.path")

    def views(self) -> tuple[str, ...]:
        """See `CriticChoice`."""
        return ()

    def source(self, workshop: Workshop) -> CriticSource:
        """See `CriticChoice`: the file, and nothing to load."""
        self.check(())
        return CriticSource(file_digest(Path(self.path)), self._refused, Path(self.path))

    def _refused(self) -> Critic:
        raise UserError(f"{self.blind}: it cannot judge other episodes; choose another critic")
