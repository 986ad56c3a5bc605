"""Stage `critic`: whoever says how far the task has come, trained if it has to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.recording import Recording, Rollout
from envs.tasks import check_choice, task_spec
from envs.types import Episode
from experiments.artifacts import SCRATCH, Artifacts, digest, file_digest
from experiments.config import TaskConfig
from experiments.critics import (
    Critic,
    CriticData,
    OracleChoice,
    PluginCritic,
    StateCritic,
    TimeIndex,
    TimeIndexChoice,
    TrainChoice,
    VideoCritic,
    WVMChoice,
)
from experiments.oracle import Oracle
from experiments.plugins import resolve, source_digest
from experiments.progress import Bars, announce
from experiments.stages.data import CAMERAS, Data, collect_data
from experiments.tracking import Tracker

VERSION = 2


@dataclass(frozen=True)
class CriticSource:
    """A critic that is ready to be loaded; `digest` stands for all that its values depend on."""

    digest: str
    load: Callable[[], Critic]


def get_critic(artifacts: Artifacts, task: TaskConfig, choice: Any, tracker: Tracker) -> CriticSource:
    """The critic of a choice of `critic=` that gives values itself (a progress file does not)."""
    if isinstance(choice, WVMChoice):
        return trained_critic(choice)
    if isinstance(choice, TrainChoice):
        return train_critic(artifacts, task, choice, tracker)
    if isinstance(choice, OracleChoice):
        data = critic_data(artifacts, task, choice.data)
        return CriticSource(
            digest(["oracle", VERSION, data.digest]), lambda: StateCritic(Oracle.fit(_undisturbed(data)))
        )
    if isinstance(choice, TimeIndexChoice):
        return CriticSource("time_index", TimeIndex)
    assert isinstance(choice, PluginCritic), choice
    source = source_digest(resolve(choice.module))
    return CriticSource(digest([choice, source]), lambda: VideoCritic.load(choice))


def trained_critic(choice: WVMChoice) -> CriticSource:
    """The world value model in a folder.

    Raises:
        UserError: there is none.
    """
    files = [choice.folder / name for name in ("config.json", "model.safetensors")]
    for file in files:
        if not file.is_file():
            raise UserError(
                f"no world value model in {choice.folder}: {file.name} is missing; check critic.path"
            )

    def load() -> Critic:
        from value_model.critic import load_wvm

        return load_wvm(choice.folder)

    return CriticSource(digest(["wvm", VERSION, *map(file_digest, files)]), load)


def critic_data(artifacts: Artifacts, task: TaskConfig, data: CriticData) -> Data:
    """The episodes that critics learn from; no policy ever sees them."""
    return collect_data(artifacts, task, data.styles, "critic_data", data.seed)


def _undisturbed(data: Data) -> Iterator[Episode]:
    return (episode for episode in data.numbers() if not episode.segments)


def train_critic(
    artifacts: Artifacts, task: TaskConfig, choice: TrainChoice, tracker: Tracker
) -> CriticSource:
    """A world value model, trained on episodes with known values; resumes from its own checkpoints."""
    return train_on(artifacts, choice, [critic_data(artifacts, task, choice.data)], tracker)


def train_on(
    artifacts: Artifacts, choice: TrainChoice, data: Sequence[Data], tracker: Tracker
) -> CriticSource:
    """The same from the data sets that are given."""

    def build(folder: Path) -> None:
        from value_model.train import train_wvm

        stores = [part.open() for part in data]
        with Bars(tracker, "critic") as bars:
            critic = train_wvm(stores, choice.model, folder / SCRATCH / "wvm", choice.seed, bars.update)
        critic.save(folder / "wvm")

    recipe = {"model": choice.model, "seed": choice.seed}
    inputs = {"data": digest([part.digest for part in data])}
    made = announce(artifacts.make("critic", VERSION, recipe, inputs, build))

    def load() -> Critic:
        from value_model.critic import load_wvm

        return load_wvm(made.folder / "wvm")

    return CriticSource(made.digest, load)


def make_judge(
    source: CriticSource, task: TaskConfig, frame_rate: float
) -> Callable[[Sequence[Rollout]], np.ndarray]:
    """Rewards of rollouts by a critic that sees pictures: its value of the last frame.

    Args:
        frame_rate: of the recorded pictures, frames a second.

    Raises:
        UserError: the critic does not judge from pictures.
    """
    critic: Any = source.load()
    instruction = task_spec(task.name).instructions[0]
    if isinstance(critic, VideoCritic):
        cameras, values = (critic.camera,), critic.values
    elif hasattr(critic, "values_of_many"):
        cameras = critic.config.cameras

        def values(frames: np.ndarray, text: str) -> np.ndarray:
            return critic.values(frames, text, frame_rate)
    else:
        raise UserError("method.online.reward=critic needs a critic that sees pictures; use critic=train")
    for camera in cameras:
        check_choice("camera", camera, CAMERAS)

    def seen(recording: Recording) -> np.ndarray:
        views: dict[str, np.ndarray] = dict(
            zip(CAMERAS, np.split(recording.frames, len(CAMERAS), axis=2), strict=True)
        )
        return np.concatenate([views[camera] for camera in cameras], axis=2)

    def judge(rollouts: Sequence[Rollout]) -> np.ndarray:
        recordings = [rollout.recording for rollout in rollouts if rollout.recording is not None]
        return np.array([values(seen(recording), instruction)[-1] for recording in recordings], np.float32)

    return judge
