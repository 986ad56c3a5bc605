"""What a world model learns from: demonstrations of every style, and a policy's own attempts at several temperatures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from envs.errors import check_choice
from envs.robosuite.tasks import ROBOTS
from experiments.choices.environments import RobosuiteChoice
from experiments.choices.policies import PolicyChoice
from experiments.lab.context import Context
from experiments.lab.seeds import RANGE, RUN_RANGE, Purpose
from experiments.settings.config import RolloutData, TaskConfig, require
from experiments.stages.acting import Acting, check_fit
from experiments.stages.data import Data, collect_data
from experiments.stages.rollouts import roll_out_data
from policy_extraction.acting import ActingPolicy
from policy_extraction.methods.bc import BC
from policy_extraction.types import Training

PARTS = 8  # data sets of one seed: demonstrations, and rollouts at fewer temperatures than that
EXECUTE = 4  # actions of a chunk between the policy's decisions


def _styles() -> dict[str, int]:
    return {"clean": 20, "noisy": 30, "slow": 5, "hesitation": 15, "retry": 30, "detour": 20, "failure": 30}


@dataclass(frozen=True)
class Experience:
    """How much of what, of each task.

    A policy's attempts miss and fail in ways that scripted experts do not. They are cut at the task's horizon.
    """

    robot: str = "Panda"
    image_size: int = 64  # pixels, square
    styles: dict[str, int] = field(default_factory=_styles)  # {style: demonstrations}
    temperatures: tuple[float, ...] = (0.3, 1.0, 1.6)  # of the policy's action tokens
    rollouts: int = 60  # at each temperature
    share: float = 1.0  # of all those numbers, rounded up
    linger: int = 20  # control steps that a rollout goes on after success: solved frames are rare
    held_out: float = 0.1  # as many episodes again, in parts of those numbers, that nothing is trained on
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("robot", self.robot, ROBOTS)
        require(bool(self.styles), "experience.styles must name at least one style")
        require(0 < self.share <= 1, f"experience.share={self.share} must be above 0 and at most 1")
        require(self.rollouts >= 0, f"experience.rollouts={self.rollouts} must not be negative")
        require(0 < self.held_out <= 1, f"experience.held_out={self.held_out} must be above 0 and at most 1")
        require(len(self.temperatures) < PARTS, f"experience.temperatures: at most {PARTS - 1} at once")
        most = RANGE // RUN_RANGE // PARTS - 1
        require(0 <= self.seed <= most, f"experience.seed={self.seed} must be from 0 to {most}")

    def task(self, name: str) -> TaskConfig:
        """A task as it is seen."""
        return TaskConfig(name, self.robot, self.image_size)


def gather(
    context: Context, task: str, settings: Experience, policy: PolicyChoice, held_out: bool = False
) -> list[Data]:
    """A data set of demonstrations, and one of rollouts for each temperature; of fresh starts each.

    Args:
        policy: who acts; it has action tokens.
        held_out: episodes that only measure.

    Raises:
        UserError: the policy does not fit the environment.
    """
    scene, share = settings.task(task), settings.share * (settings.held_out if held_out else 1.0)
    purpose: Purpose = "world_model_held_out" if held_out else "world_model"
    styles = {style: math.ceil(share * count) for style, count in settings.styles.items() if count}
    first = PARTS * settings.seed
    found = [collect_data(context.artifacts, scene, styles, purpose, first)]
    episodes = math.ceil(share * settings.rollouts)
    acting = Acting(RobosuiteChoice(), scene, 0, 0, EXECUTE, settings.linger)
    if episodes:
        check_fit(policy.shape(acting.spec), acting.spec, acting.execute)
    for number, temperature in enumerate(settings.temperatures if episodes else (), start=1):
        data = RolloutData(
            episodes=episodes, temperature=temperature, linger=settings.linger, seed=first + number
        )

        def actor(temperature: float = temperature) -> ActingPolicy:
            return ActingPolicy(policy.make(acting.spec, Training(), settings.seed), BC(), temperature)

        origin = policy.origin(acting.spec)
        found.append(roll_out_data(context, data, acting, actor, origin, purpose))
    return found
