"""The trainings of a comparison: what each stands on is made when it is asked for, or found done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from experiments.choices.critics import require_training
from experiments.choices.imagination import ImaginationChoice
from experiments.gymnast.config import TEST_TIME, VARIANTS, WorldGymnastConfig
from experiments.gymnast.scenes import first_picture, scene_pictures
from experiments.gymnast.words import (
    HEAT,
    OWN,
    Cell,
    common,
    data_seed,
    hottest,
    online_words,
    rollout_words,
    scene_words,
    transplant_words,
    unless_given,
)
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.pipeline import Experiment
from experiments.settings.cli import configurations
from experiments.settings.config import RunConfig, TaskConfig
from experiments.settings.resolve import resolved
from experiments.stages.critic import train_on
from experiments.stages.data import Data, collect_data
from experiments.stages.evaluate import Evaluation
from experiments.stages.extract import read_history
from experiments.stages.eyes import distil, finished_world, seeing_world
from experiments.stages.world_model import FOLDER, make_world_model
from experiments.train_world_model import told_apart
from policy_extraction.types import frozen_eyes

IMAGINED = ("imagination", *VARIANTS, *TEST_TIME)  # what learns in a world model
HELD_OUT = {
    "clean": 4,
    "retry": 4,
    "failure": 4,
}  # demonstrations of each task that only measure the world model
LINGER = {
    "cloning": 5,
    "world": 20,
}  # control steps that rollouts go on after success: solved frames are rare


@dataclass(frozen=True)
class Trained:
    """One training and what it is worth.

    words: the settings of `experiments.run` that make it; policy: its artifact, None before training;
    real_steps: control steps of its task in the simulator that it took; success: {temperature: evaluation};
    imagined: the same in the world model at temperature 1, None where none was trained; seconds: of the training alone;
    whole: seconds of all that it took beyond the demonstrations, its share of what several tasks stand on among them;
    before: where the evaluation is of one scene, that of the policy before training; others: {another task: its success in
    usual scenes at temperature 1, before and after}, of training in one scene.
    """

    cell: Cell
    words: tuple[str, ...]
    policy: Artifact | None
    real_steps: int
    success: dict[float, Evaluation]
    imagined: Evaluation | None
    seconds: float
    whole: float
    before: dict[float, Evaluation]
    others: dict[str, tuple[Evaluation, Evaluation]]


class Runs:
    """All trainings of one comparison.

    given: settings of `experiments.run` that all of them share; own: {method: those of its own}.
    """

    def __init__(
        self,
        config: WorldGymnastConfig,
        given: Sequence[str],
        own: Mapping[str, Sequence[str]],
        context: Context,
    ) -> None:
        self.config, self.given, self.own, self.context = config, given, own, context
        self.trained, self.world, self.critic = cache(self._train), cache(self._world), cache(self._critic)
        self.made_world, self.rollouts = cache(self._made_world), cache(self._rollouts)
        self.explored, self.eyes = cache(self._explored), cache(self._eyes)
        self._critic_seconds = 0.0

    def experiment(self, words: Sequence[str]) -> Experiment:
        """What `experiments.run` would do under these settings."""
        return Experiment(settings(words), self.context)

    def _train(self, cell: Cell) -> Trained:
        """The training of a cell, evaluated."""
        words = [*common(self.config, cell.task, cell.seed, self.given), *OWN[cell.method], *self._more(cell)]
        experiment = self.experiment(words)
        experiment.check()
        with self.context.artifacts.counted() as own:
            policy, steps = self._learn(cell, experiment)
        scene = cell.method in TEST_TIME
        return Trained(
            cell,
            tuple(words),
            policy,
            steps,
            self._evaluate(experiment, policy),
            None if scene else self._imagine(cell, experiment, policy),
            policy.seconds if policy else 0.0,
            sum(own.values()) + self._stood_on(cell),
            self._evaluate(experiment, None) if scene else {},
            self._others(cell, experiment, policy) if scene and policy else {},
        )

    def _learn(self, cell: Cell, experiment: Experiment) -> tuple[Artifact | None, int]:
        """The trained policy, and the control steps in the simulator that it took."""
        if cell.method == "sft":
            return None, 0
        if cell.method in ("iterated_sft", "filtered"):
            data = experiment.collect()
            return experiment.extract(experiment.label(data)), data.open().total_frames
        policy = experiment.improve()
        if cell.method == "simulator":
            return policy, sum(entry["control_steps"] for entry in read_history(policy.folder))
        seen = self.rollouts(cell.task, *self._of(cell), cell.round)
        return policy, sum(data.open().total_frames for data in seen)

    def _stood_on(self, cell: Cell) -> float:
        """Seconds of what was made before a cell's own training: rollouts, and a task's share of world models and critic."""
        earlier = self.trained(replace(cell, round=cell.round - 1)) if cell.round > 1 else None
        if cell.method not in IMAGINED:
            share = self._critic_seconds / len(self.config.tasks) if cell.method == "filtered" else 0.0
            return earlier.whole if earlier is not None else share
        made: list[Artifact | Data | None] = []
        for number in range(1, cell.round + 1):
            made += [self.made_world(*self._of(cell), number), self.eyes(*self._of(cell), number)]
        shared = sum(one.seconds or 0.0 for one in made if one is not None) / len(self.config.tasks)
        own = sum(data.seconds or 0.0 for data in self.rollouts(cell.task, *self._of(cell), cell.round))
        return shared + own + (earlier.seconds if earlier is not None else 0.0)

    def _evaluate(self, experiment: Experiment, policy: Artifact | None) -> dict[float, Evaluation]:
        """{temperature: success}."""
        found = {
            heat: Experiment(_warm(experiment.config, heat), self.context).evaluate(policy)
            for heat in self.config.temperatures
        }
        return {heat: one for heat, one in found.items() if one is not None}

    def _others(
        self, cell: Cell, experiment: Experiment, policy: Artifact
    ) -> dict[str, tuple[Evaluation, Evaluation]]:
        """What training on one task did to the others."""
        found = {}
        for task in self.config.tasks:
            if task != cell.task:
                usual = replace(experiment.config, evaluate=replace(experiment.config.evaluate, scene=-1))
                scene = replace(usual.task, name=task)
                other = Experiment(replace(usual, task=scene, env=usual.env.real), self.context)
                before, after = other.evaluate(), other.evaluate(policy)
                if before is not None and after is not None:
                    found[task] = (before, after)
        return found

    def _more(self, cell: Cell) -> list[str]:
        """What depends on other trainings."""
        more = list(self.own.get(cell.method, ()))
        if cell.method in ("iterated_sft", "filtered"):
            own = self._cloning_words(cell)
            critic = cell.method == "filtered" and not any(word.startswith("critic=") for word in self.given)
            return [*own, *(["critic=wvm", f"critic.path={self.critic()}"] if critic else []), *more]
        if cell.method in IMAGINED:
            more = [f"env.path={self.world(*self._of(cell), cell.round)}", *more]
        if cell.method == "distract":
            more = [f"env.scenes={self._pictures(cell)}", *more]
        if cell.method == "scaled":
            more = [f"env.guard={1 - 1 / len(self.config.tasks):g}", *more]
        if cell.method in TEST_TIME:
            more = [*self._scene_words(cell), *more]
        if cell.method == "sft":
            return more
        return [*self._online(cell, [*self.given, *more]), *more]

    def _online(self, cell: Cell, given: Sequence[str]) -> list[str]:
        """How many rollouts a method makes itself, and how hot, unless given: then nothing is explored for it."""
        told = any(word.startswith(f"{HEAT}=") for word in given)
        return unless_given(online_words(cell, None if told else self._temperature(cell)), given)

    def _temperature(self, cell: Cell) -> float:
        """That of a cell's groups, by the rollouts that its world model has seen in its last round."""
        seen = self.explored(cell.task, *self._of(cell), cell.round)
        return hottest({heat: _solved(data) for heat, data in zip(self.config.explore, seen, strict=True)})

    def _pictures(self, cell: Cell) -> Path:
        """The folder of pictures of scenes with distractors, in which nobody has acted."""
        words = [*common(self.config, cell.task, cell.seed, self.given), "env=robosuite"]
        acting = self.experiment([*words, f"env.distractors={self.config.distractors}"]).acting
        return scene_pictures(self.context, acting, cell.seed, self.config.scenes).folder

    def _scene_words(self, cell: Cell) -> list[str]:
        """A scene that nothing was trained on, by its first picture."""
        acting = self.experiment(
            [*common(self.config, cell.task, cell.seed, self.given), "env=robosuite"]
        ).evaluating
        made = first_picture(self.context, acting, cell.seed)
        pictures = [made.folder / f"{camera}.png" for camera in self.config.model.cameras]
        return scene_words(cell, pictures, acting.spec.instruction)

    def _cloning_words(self, cell: Cell) -> list[str]:
        """All rounds' rollouts: the last by the policy that the rounds before made."""
        seed = data_seed(cell.seed, cell.round, 0)
        if cell.round == 1:
            return rollout_words(cell.budget, 1.0, seed, LINGER["cloning"], None)
        before = self.trained(replace(cell, round=cell.round - 1))
        assert before.policy is not None
        words = rollout_words(cell.budget, 1.0, seed, LINGER["cloning"], before.policy.folder / "policy")
        return [*words, f"data.also=[{self.experiment(before.words).collect().folder}]"]

    def _of(self, cell: Cell) -> tuple[int, int]:
        """Budget and number of the world model in which a cell learns."""
        return cell.budget, cell.seed % self.config.worlds

    def _world(self, budget: int, number: int, round: int) -> Path:
        """The world model after so many rounds of rollouts of all tasks, with the policy's eyes if it has frozen ones."""
        made = self.made_world(budget, number, round).folder / FOLDER
        distilled = self.eyes(budget, number, round)
        return made if distilled is None else seeing_world(self.context, finished_world(made), distilled)

    def _eyes(self, budget: int, number: int, round: int) -> Artifact | None:
        """What the policy's frozen eyes would see in that world model, None if it has none."""
        acting = self.experiment(common(self.config, self.config.tasks[0], 0, self.given))
        eyes = frozen_eyes(acting.policy())
        if eyes is None:
            return None
        world = finished_world(self.made_world(budget, number, round).folder / FOLDER)
        data, seed = self.seen(budget, number, round), self.config.seed + number
        return distil(self.context, world, eyes, data, self.config.eyes, seed)

    def _made_world(self, budget: int, number: int, round: int) -> Artifact:
        model, data = told_apart(self.config.model, self.config.tasks), self.seen(budget, number, round)
        refresh = Path(self.config.begin) if self.config.begin else None
        if round > 1:
            refresh = self.made_world(budget, number, round - 1).folder / FOLDER
        if refresh is not None:
            model = model.going_on(self.config.refresh)
        return make_world_model(self.context, model, data, self.config.seed + number, refresh)

    def seen(self, budget: int, number: int, round: int) -> list[Data]:
        """All that a world model learns from."""
        data = [self.demonstrated(task) for task in self.config.tasks]
        return data + [
            part for task in self.config.tasks for part in self.rollouts(task, budget, number, round)
        ]

    def _rollouts(self, task: str, budget: int, number: int, round: int) -> list[Data]:
        """Those of one task that a world model has seen, of all rounds: `budget` in each."""
        found: list[Data] = []
        for one in range(1, round + 1):
            found += self.explored(task, budget, number, one)
            found += self._transplanted(task, budget, number, one)
        return found

    def _explored(self, task: str, budget: int, number: int, round: int) -> list[Data]:
        """The policy's own rollouts of one round, one part a temperature."""
        policy = None
        if round > 1:
            before = self.trained(Cell("imagination", task, budget, number, round - 1)).policy
            assert before is not None
            policy = before.folder / "policy"
        found, explore = [], self.config.explore
        acted = budget - self.config.transplanted(budget)
        for part, heat in enumerate(explore):
            count = (acted + part) // len(explore)
            words = rollout_words(count, heat, data_seed(number, round, part + 1), LINGER["world"], policy)
            found.append(self.experiment([*common(self.config, task, 0, self.given), *words]).collect())
        return found

    def _transplanted(self, task: str, budget: int, number: int, round: int) -> list[Data]:
        """What was done in some of them, each done in the scene of another."""
        count = self.config.transplanted(budget)
        if not count:
            return []
        own = [part.folder for part in self.explored(task, budget, number, round)]
        seed = data_seed(number, round, len(self.config.explore) + 1)
        words = transplant_words(count, seed, LINGER["world"], own)
        return [self.experiment([*common(self.config, task, 0, self.given), *words]).collect()]

    def demonstrated(self, task: str, held_out: bool = False) -> Data:
        """The demonstrations of a task that the policy was pretrained on, or others that only measure."""
        config = settings(common(self.config, task, 0, self.given)).task
        scene = TaskConfig(config.name, config.robot, config.image_size)
        artifacts, own = self.context.artifacts, self.config.demonstrations
        if held_out:
            return collect_data(artifacts, scene, HELD_OUT, "world_model_held_out", own.seed)
        return collect_data(artifacts, scene, own.styles, "pretraining", own.seed)

    def _critic(self) -> Path:
        """The folder of the critic that is trained on the demonstrations of all tasks."""
        data = [self.demonstrated(task) for task in self.config.tasks]
        choice = require_training(self.config.critic_model, "critic_model")
        with self.context.artifacts.counted() as count:
            made = train_on(self.context.artifacts, choice, data, self.context.tracker)
        self._critic_seconds = sum(count.values())
        assert made.folder is not None, "a trained critic is in a folder"
        return made.folder

    def _imagine(self, cell: Cell, experiment: Experiment, policy: Artifact | None) -> Evaluation | None:
        """What the world model says of the policy; of others than those trained in it, too."""
        if not set(IMAGINED) & set(self.config.methods):
            return None
        env = ImaginationChoice(path=str(self.world(*self._of(cell), cell.round)))
        usual = replace(experiment.config.evaluate, stop=True)  # an imagined episode ends where it is solved
        config = replace(experiment.config, evaluate_env=env, evaluate=usual)
        return Experiment(config, self.context).evaluate(policy)


def settings(words: Sequence[str]) -> RunConfig:
    """The configuration of `experiments.run` under these settings; of a setting that is given twice the last counts."""
    return _settings(tuple({word.split("=", 1)[0]: word for word in words}.values()))


@cache
def _settings(words: tuple[str, ...]) -> RunConfig:
    [chosen] = configurations("run", words)
    config: Any = chosen.config
    return resolved(config)


def _solved(data: Data) -> float:
    """Share of the episodes that solved the task."""
    return float(np.mean([episode.success is True for episode in data.numbers()]))


def _warm(config: RunConfig, temperature: float) -> RunConfig:
    return replace(config, evaluate=replace(config.evaluate, temperature=temperature))


def cells(config: WorldGymnastConfig) -> list[Cell]:
    """All trainings, in the order in which they are done: seeds before budgets, so that what is missing is the dearest."""
    found = []
    for round in range(1, config.rounds + 1):
        for budget in config.budgets:
            for seed in config.seeds:
                for task in config.tasks:
                    found += [
                        Cell(method, task, budget, seed, round)
                        for method in config.methods
                        if _occurs(method, round)
                    ]
    return found


def _occurs(method: str, round: int) -> bool:
    """The policy before training has no rounds."""
    return method != "sft" or round == 1
