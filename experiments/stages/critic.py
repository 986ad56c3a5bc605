"""Stage `critic`: whoever says how far the task has come, trained if it has to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.types import Episode
from experiments.choices.critics import (
    VERSION,
    CriticData,
    OracleChoice,
    ReadyChoice,
    TrainableChoice,
)
from experiments.choices.oracle import Oracle
from experiments.choices.plain_critics import StateCritic
from experiments.lab.artifacts import SCRATCH, Artifacts, digest
from experiments.lab.progress import Bars, announce
from experiments.lab.tracking import Tracker
from experiments.settings.config import TaskConfig
from experiments.stages.data import Data, collect_data
from value_model.critic.types import Critic


@dataclass(frozen=True)
class CriticSource:
    """A critic that is ready to be loaded; `digest` stands for all that its values depend on."""

    digest: str
    load: Callable[[], Critic]


def get_critic(artifacts: Artifacts, task: TaskConfig, choice: Any, tracker: Tracker) -> CriticSource:
    """The critic of a choice of `critic=` that gives values itself (a progress file does not)."""
    if isinstance(choice, OracleChoice):
        data = critic_data(artifacts, task, choice.data)
        return CriticSource(
            digest(["oracle", VERSION, data.digest]), lambda: StateCritic(Oracle.fit(_undisturbed(data)))
        )
    if isinstance(choice, TrainableChoice) and choice.untrained:
        return train_on(artifacts, choice, [critic_data(artifacts, task, choice.data)], tracker)
    ready: Any = choice
    return ready_critic(ready)


def ready_critic(choice: ReadyChoice) -> CriticSource:
    """The critic of a choice that needs no training."""
    return CriticSource(choice.origin(), choice.make)


def critic_data(artifacts: Artifacts, task: TaskConfig, data: CriticData) -> Data:
    """The episodes that critics learn from; no policy ever sees them."""
    return collect_data(artifacts, task, data.styles, "critic_data", data.seed)


def _undisturbed(data: Data) -> Iterator[Episode]:
    return (episode for episode in data.numbers() if not episode.segments)


def train_on(
    artifacts: Artifacts, choice: TrainableChoice, data: Sequence[Data], tracker: Tracker
) -> CriticSource:
    """A critic trained on the episodes of these data sets whose values are known; resumes from its own checkpoints."""

    def build(folder: Path) -> None:
        stores = [part.open() for part in data]
        with Bars(tracker, "critic") as bars:
            critic = choice.train(stores, folder / SCRATCH / choice.part, bars.update)
        critic.save(folder / choice.part)

    inputs = {"data": digest([part.digest for part in data])}
    made = announce(artifacts.make("critic", VERSION, choice.recipe(), inputs, build))
    return CriticSource(made.digest, lambda: choice.load(made.folder / choice.part))
