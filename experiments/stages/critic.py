"""Stage `critic`: whoever says how far the task has come, trained if it has to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.robosuite.tasks import task_spec
from envs.store import open_store
from envs.types import Episode
from experiments.choices.critics import (
    VERSION,
    CriticChoice,
    CriticData,
    CriticSource,
    TrainableChoice,
)
from experiments.lab.artifacts import SCRATCH, Artifacts, digest
from experiments.lab.progress import Bars, announce
from experiments.lab.tracking import Tracker
from experiments.settings.config import StoreData, TaskConfig
from experiments.stages.data import Data, collect_data
from value_model.critic.check import example_episodes
from value_model.critic.metrics.controls import unlabelled


@dataclass(frozen=True)
class TaskWorkshop:
    """Makes critics of one task and robot, which learn from episodes that no policy ever sees."""

    artifacts: Artifacts
    task: TaskConfig
    tracker: Tracker

    def trained(self, choice: TrainableChoice) -> CriticSource:
        """See `Workshop`."""
        return train_on(self.artifacts, choice, [self._data(choice.data)], self.tracker)

    def demonstrations(self, data: CriticData) -> Mapping[str, Data]:
        """See `Workshop`."""
        return {f"{self.task.name}-{self.task.robot}": self._data(data)}

    def _data(self, data: CriticData) -> Data:
        return collect_data(self.artifacts, self.task, data.styles, "critic_data", data.seed)


def get_critic(
    artifacts: Artifacts, task: TaskConfig, choice: CriticChoice, tracker: Tracker
) -> CriticSource:
    """The critic of a choice of `critic=`, for one task; trained if it has to be."""
    return choice.source(TaskWorkshop(artifacts, task, tracker))


def examples(task: TaskConfig, data: object = None) -> list[Episode]:
    """Episodes in the shapes of those that a critic will judge, for `CriticChoice.check`: the user's own, or invented."""
    if isinstance(data, StoreData):
        store = open_store(data.folder, data.reading)
        return [unlabelled(store, index) for index in range(min(2, len(store)))]
    return example_episodes(task.name, task.robot, task_spec(task.name).instructions[0], task.image_size)


def train_on(
    artifacts: Artifacts, choice: TrainableChoice, data: Sequence[Data], tracker: Tracker
) -> CriticSource:
    """A critic trained on the episodes of these data sets; resumes from its own checkpoints."""

    def build(folder: Path) -> None:
        stores = [part.open() for part in data]
        with Bars(tracker, "critic") as bars:
            critic = choice.train(stores, folder / SCRATCH / choice.part, bars.update)
        critic.save(folder / choice.part)

    inputs = {"data": digest([part.digest for part in data])}
    over = getattr(choice, "over", "")
    made = announce(artifacts.make("critic", VERSION, choice.recipe(), inputs, build, over))
    saved = made.folder / choice.part
    return CriticSource(made.digest, lambda: choice.load(saved), folder=saved)
