"""Train a world model on demonstrations and a policy's own attempts, and measure it on held-out episodes.

    python -m experiments.train_world_model tasks=[lift] [folder=outputs/world_model] [model.unroll.updates=…] [seed=…]
    python -m experiments.train_world_model model=small                             one GPU
    python -m experiments.train_world_model tasks=[lift] critic.joint=true          a critic on the same weights
    python -m experiments.train_world_model tasks=[lift] stores=[my/rollouts]       more episodes of your own
    python -m experiments.train_world_model data=store data.path=[A,B]              recordings of your own robot alone
    python -m experiments.train_world_model refresh=outputs/world_model stores=[…]  going on from a finished one
    python -m experiments.train_world_model tasks=[lift] world=outputs/world_model  only what policy= sees in a finished one

Where the policy's eyes stay as they are in training, what they would see is distilled from latents (env.eyes). Collection
and training resume; a killed command is continued by the same command. Beside the model the folder gets MODEL_CARD.md and
strips of pictures, imagined below real. The last line is JSON: the errors, by steps of the world.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from envs.files import atomic_file, copy_file, copy_files
from envs.robosuite.tasks import task_spec
from experiments.choices.environments import RobosuiteChoice
from experiments.choices.policies import PolicyChoice
from experiments.choices.wvm_critics import WVMChoice
from experiments.lab.artifacts import Artifacts, canonical
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import tracked
from experiments.own_critic.split import SplitConfig
from experiments.own_world.train import refuse_settings_without_effect, train_own_world
from experiments.reports.world_card import (
    CARD,
    DEMONSTRATED,
    critic_card,
    errors_table,
    eyes_card,
    size_of,
    without_eyes,
    world_card,
)
from experiments.settings.cli import answer, prepare_one
from experiments.settings.cluster import HOSTS
from experiments.settings.command import command
from experiments.settings.compose import store, store_command
from experiments.settings.config import WandbConfig, require
from experiments.stages.acting import Acting
from experiments.stages.data import Data, user_data
from experiments.stages.experience import EXECUTE, Experience, gather
from experiments.stages.eyes import distil, finished_world, measure_eyes
from experiments.stages.world_model import FOLDER, make_world_model
from experiments.stages.world_quality import PICTURES, Quality, measure_world_model
from experiments.train_critic import measure, metrics_table
from policy_extraction.types import Eyes, Training, frozen_eyes
from value_model.imagination.config import EYES, PRESETS, ImaginationConfig
from value_model.imagination.eyes import EyesConfig
from value_model.imagination.train import to_go_on_from
from value_model.imagination.world_model import load_world_model
from value_model.joint.config import JointConfig


@dataclass(frozen=True)
class TrainWorldModelConfig:
    """A world model, what it learns from, and where it goes."""

    model: Any = MISSING
    policy: Any = MISSING  # whose attempts it sees
    tasks: tuple[str, ...] = ("lift", "stack", "can")
    experience: Experience = field(default_factory=Experience)
    stores: tuple[str, ...] = ()  # folders of LeRobot v3 data sets that are learnt from too
    data: Any = None  # data=store: recordings of one's own, and nothing else
    split: SplitConfig = field(default_factory=SplitConfig)  # of them
    refresh: str = ""  # the folder of a world model to go on from; its tokenizer stays as it is
    world: str = ""  # folder of a finished world model, for which nothing but the eyes of `policy` is trained
    critic: JointConfig = field(default_factory=JointConfig)  # that shares its weights, if it is joint
    eyes: EyesConfig = field(default_factory=EyesConfig)  # what the policy sees, distilled from latents
    seed: int = 0  # of the training; the data have experience.seed
    folder: str = "outputs/world_model"
    wandb: WandbConfig = field(default_factory=WandbConfig)
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        require(bool(self.tasks), "tasks must name at least one task")
        for name in self.tasks:
            task_spec(name)
        require(
            not (self.critic.joint and self.world),
            "world=… trains eyes alone: leave out critic.joint, or train the world model anew with it",
        )


def train_world_model(arguments: Sequence[str]) -> None:
    """Collect, train, measure, and write the folder.

    Raises:
        UserError: a mistake in the arguments; a finished world model is to get eyes that the policy does not have.
    """
    for name, model in PRESETS.items():
        store("model", name, model)
    defaults = [{"model": "tiny"}, {"policy": "vla_token"}, {"data": None}]
    store_command("train_world_model", TrainWorldModelConfig, defaults)
    config: TrainWorldModelConfig = prepare_one("train_world_model", arguments).config
    refuse_settings_without_effect(config, arguments)
    if config.data is not None:
        print(json.dumps(train_own_world(config, arguments)))
        return
    config = replace(config, model=told_apart(config.model, config.tasks))
    policy: PolicyChoice = config.policy
    artifacts = Artifacts(Path(config.outputs) / "artifacts")
    own = [user_data(Path(path)) for path in config.stores]
    eyes = _eyes(config)
    _refuse_others(config)
    with (
        tracked(config.wandb, "train_world_model", Path(config.outputs), canonical(config)) as tracker,
        Simulators() as simulators,
    ):
        context = Context(artifacts, tracker, simulators)
        parts = [part for name in config.tasks for part in gather(context, name, config.experience, policy)]
        tested = {
            name: gather(context, name, config.experience, policy, held_out=True) for name in config.tasks
        }
        simulators.close()
        data = Learnt([*parts, *own], tested)
        if config.world:
            source, card, found, seconds = Path(config.world), without_eyes(Path(config.world)), {}, None
        else:
            refresh = Path(config.refresh) if config.refresh else None
            critic = config.critic if config.critic.joint else None
            made = make_world_model(context, config.model, data.parts, config.seed, refresh, critic)
            source, seconds = made.folder / FOLDER, made.seconds
            found, strips = measure_world_model(context, made, tested, data.parts)
            card = _card(config, data, found, seconds, arguments)
            if critic is not None:
                judged = measure(artifacts, WVMChoice(path=str(source)).saved(), data.held_out)
                card = f"{card}\n{critic_card(metrics_table(judged))}"
                found = {**found, "critic": judged}
            copy_files(strips / PICTURES, Path(config.folder))
        if eyes is not None:
            world = finished_world(source)
            distilled = distil(context, world, eyes, data.parts, config.eyes, config.seed)
            seen = measure_eyes(context, world, distilled, eyes, data.held_out)
            settings = {**canonical(config.eyes), "seed": config.seed}
            card = f"{card}\n{eyes_card(eyes, data.parts, seen, ' '.join(arguments), settings)}"
            found = {**found, "eyes": seen}
        tracker.summary(found)
    folder = Path(config.folder)
    if source.resolve() != folder.resolve():
        copy_files(source, folder)
    if eyes is not None:
        copy_file(distilled.folder / EYES, folder / EYES)
    with atomic_file(folder / CARD) as temporary:
        temporary.write_text(card)
    for name, one in found.items():
        print(f"{name}\n{metrics_table(one) if name == 'critic' else errors_table(one)}\n")
    print(json.dumps({"folder": config.folder, "seconds": seconds, **found}))


@dataclass(frozen=True)
class Learnt:
    """What was learnt from; tested: {task: data} that only measures."""

    parts: Sequence[Data]
    tested: Mapping[str, Sequence[Data]]

    @property
    def held_out(self) -> list[Data]:
        """Of all tasks."""
        return [part for parts in self.tested.values() for part in parts]


def _eyes(config: TrainWorldModelConfig) -> Eyes | None:
    """The policy's, if it has any that training leaves alone."""
    spec = Acting(RobosuiteChoice(), config.experience.task(config.tasks[0]), 0, 0, EXECUTE).spec
    eyes = frozen_eyes(config.policy.make(spec, Training(), config.experience.seed))
    if config.world:
        require(eyes is not None, "world=… trains eyes alone, and this policy has none that stay as they are")
    return eyes


def _refuse_others(config: TrainWorldModelConfig) -> None:
    """Refuse, before anything is collected, a finished world model that is none, or cannot be gone on from."""
    if config.world:
        load_world_model(Path(config.world))
    elif config.refresh:
        to_go_on_from(Path(config.refresh), config.model)


def told_apart(model: ImaginationConfig, tasks: Sequence[str]) -> ImaginationConfig:
    """The model with a classifier of success that reads the instruction, where there are several tasks."""
    return replace(model, solved=replace(model.solved, told=True)) if len(set(tasks)) > 1 else model


def _card(
    config: TrainWorldModelConfig, data: Learnt, found: Quality, seconds: float, arguments: Sequence[str]
) -> str:
    heats = ", ".join(map(str, config.experience.temperatures))
    told = f"{size_of(data.parts)}: {DEMONSTRATED}{heats}"
    held_out = sum(len(part.open()) for part in data.held_out)
    made = " ".join(arguments), seconds
    return world_card(config.model, config.tasks, told, held_out, found, made, config)


@command
def main() -> None:
    """The command line."""
    answer(train_world_model, __doc__, over=(HOSTS,))


if __name__ == "__main__":
    main()
