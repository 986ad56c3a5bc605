"""What `experiments.world_gymnast` compares, at which budgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from envs.errors import check_choice
from envs.robosuite.tasks import task_spec
from experiments.choices.wvm_critics import TrainChoice
from experiments.lab.seeds import RANGE, RUN_RANGE
from experiments.pretrain_vla import PretrainConfig
from experiments.settings.config import MixtureData, WandbConfig, require
from policy_extraction.types import Rollouts
from value_model.imagination.eyes import EyesConfig

METHODS = ("sft", "iterated_sft", "filtered", "simulator", "imagination")
VARIANTS = ("distract", "language", "scaled")  # of imagination: in more scenes, told more, on more tasks
TEST_TIME = ("test_time", "test_time_guarded")  # in one scene, of which there is but a picture
PARTS = 8  # data sets of one round of one seed: for cloning, for the world model, and two that measure it
MOST_ROUNDS = 5


def demonstrated() -> MixtureData:
    """What a base policy learns from, see `experiments.pretrain_vla`."""
    return PretrainConfig().data


@dataclass(frozen=True)
class WorldGymnastConfig:
    """Methods that start from one policy and may act equally often in the simulator.

    Published (World-Gymnast, arXiv 2602.02454): four tasks of Bridge; the budgets are WMPO's, the nearest peer's.
    """

    tasks: tuple[str, ...] = ("open_drawer", "close_drawer", "eggplant_sink", "eggplant_basket")
    methods: tuple[str, ...] = METHODS
    budgets: tuple[int, ...] = (128,)  # rollouts of a task in each round; the peer's: 128 and 1,280
    seeds: tuple[int, ...] = (0, 1, 2)  # of trainings and evaluations
    rounds: int = 1  # of new rollouts, a refreshed world model and training: Dyna; or iterated cloning
    worlds: int = 1  # world models, each from rollouts of its own; seed s acts in number s mod worlds
    temperatures: tuple[float, ...] = (1.0, 0.3)  # of the action tokens at which every policy is evaluated
    explore: tuple[float, ...] = (0.3, 1.0, 1.6)  # at which the rollouts for the world model are made
    transplants: float = 0.25  # share of them that do what was done in others, see `envs.transplant`
    scenes: int = 128  # with distractors, of which `distract` has pictures
    distractors: int = 3  # in each
    verdicts: int = 64  # rollouts of a task, of either kind, that only measure the world model; 0: none
    demonstrations: MixtureData = field(default_factory=demonstrated)  # that the policy has learnt from
    critic_model: TrainChoice = field(default_factory=TrainChoice)  # trained on those demonstrations
    model: Any = MISSING  # the world model
    eyes: EyesConfig = field(default_factory=EyesConfig)  # what the policy sees in it, distilled from latents
    begin: str = ""  # folder of a finished world model that the first goes on from; none: from nothing
    refresh: int = 400  # unrolled updates of a world model that goes on: in further rounds, with begin=
    seed: int = 0  # of the world models and of the critic
    name: str = "table"  # of the folder under outputs/world_gymnast
    wandb: WandbConfig = field(default_factory=WandbConfig)
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        for name in self.tasks:
            task_spec(name)
        for name in self.methods:
            check_choice("method", name, (*METHODS, *VARIANTS, *TEST_TIME))
        for name in ("tasks", "methods", "budgets", "seeds", "temperatures", "explore"):
            require(bool(getattr(self, name)), f"{name} must name at least one")
        require(0 <= self.transplants <= 0.5, f"transplants={self.transplants} must lie in [0, 0.5]")
        least, heats = Rollouts().group_size, len(self.explore)
        for budget in self.budgets:
            require(
                budget >= least,
                f"budgets: {budget} rollouts are less than a group of {least}; give at least {least}",
            )
            own = budget - self.transplanted(budget)
            require(
                own >= heats,
                f"budgets: of {budget} rollouts {own} are the policy's own, which are less than one for each of "
                f"{heats} temperatures; give more, or lower transplants",
            )
        require(1 <= self.rounds <= MOST_ROUNDS, f"rounds={self.rounds} must be from 1 to {MOST_ROUNDS}")
        require(self.worlds >= 1, f"worlds={self.worlds} must be at least 1")
        require(len(self.explore) + 3 < PARTS, f"explore: at most {PARTS - 4} temperatures")
        self._check_variants()
        require(self.verdicts >= 0, f"verdicts={self.verdicts} must not be negative")
        most = RANGE // RUN_RANGE // PARTS // MOST_ROUNDS - 1
        require(min(self.seeds) >= 0 and max(self.seeds) <= most, f"seeds must be from 0 to {most}")

    def _check_variants(self) -> None:
        require(self.scenes >= 1, f"scenes={self.scenes} must be at least 1")
        several = len(self.tasks) > 1
        for method in ("language", "scaled"):
            require(method not in self.methods or several, f"{method} needs tasks= to name more than one")
        for name in self.tasks if "distract" in self.methods else ():
            most = task_spec(name).distractors
            require(
                1 <= self.distractors <= most,
                f"distract: distractors={self.distractors}, and a scene of {name} has 1 to {most}"
                if most
                else f"distract: a scene of {name} has no distractors; leave it out of tasks=",
            )

    def transplanted(self, budget: int) -> int:
        """How many of a budget of rollouts do what was done in others."""
        return round(self.transplants * budget)
