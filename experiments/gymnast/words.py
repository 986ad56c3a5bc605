"""The settings of `experiments.run` that each method stands for: any row can be made again by that command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.gymnast.config import MOST_ROUNDS, PARTS, WorldGymnastConfig
from policy_extraction.types import Rollouts

USUAL = (
    "policy=vla_token",
    "policy.base=kitchen",
    "evaluate.episodes=100",
    "evaluate.execute=4",
    "evaluate.videos=0",
)
IMAGINED, SIMULATED = 24, 4  # kept groups an iteration: where rollouts cost, updates come more often
ITERATIONS, STOP = 10, 0.95  # in imagination: at most; share of solved rollouts that ends it
HEAT = "method.online.temperature"
MIXED = 0.2  # share of solved rollouts from which on most groups of 8 are mixed
OWN = {  # how a method learns
    "sft": ("method=bc",),
    "iterated_sft": (
        "method=filtered_bc",
        "method.rule=binary",
        "method.threshold=0.5",
        "advantage=monte_carlo",
        "advantage.baseline=false",
        "critic=time_index",
    ),
    "filtered": ("method=filtered_bc",),
    "simulator": ("method=grpo", "env=robosuite", "reward=success"),
    "imagination": ("method=grpo", "env=imagination", "reward=success"),
    "distract": ("method=grpo", "env=imagination", "reward=success"),
    "language": ("method=grpo", "env=imagination", "reward=success", "env.retold=0.5"),
    "scaled": ("method=grpo", "env=imagination", "reward=success"),
    "test_time": ("method=grpo", "env=imagination", "reward=success"),
    "test_time_guarded": ("method=grpo", "env=imagination", "reward=success", "env.guard=0.5"),
}


@dataclass(frozen=True)
class Cell:
    """One training: a method, on a task, after so many rollouts of it in each of the rounds, under a seed."""

    method: str
    task: str
    budget: int
    seed: int
    round: int = 1


def data_seed(seed: int, number: int, part: int) -> int:
    """Of the rollouts of a round; part 0 is for cloning, the others are for the world model, one a temperature."""
    return (seed * MOST_ROUNDS + number - 1) * PARTS + part


def common(config: WorldGymnastConfig, task: str, seed: int, given: Sequence[str]) -> list[str]:
    """What all methods share."""
    own = [f"task={task}", *USUAL, f"seed={seed}", f"outputs={config.outputs}"]
    own += [f"wandb.mode={config.wandb.mode}"]
    return [*own, *given]


def transplant_words(episodes: int, seed: int, linger: int, actions: Sequence[Path]) -> list[str]:
    """What was done in other rollouts, done in the simulator again."""
    folders = ",".join(map(str, actions))
    return [*_rollouts(episodes, seed, linger), f"data.actions=[{folders}]"]


def rollout_words(
    episodes: int, temperature: float, seed: int, linger: int, policy: Path | None
) -> list[str]:
    """A policy's own rollouts in the simulator."""
    trained = [f"data.policy={policy}"] if policy else []
    return [*_rollouts(episodes, seed, linger), f"data.temperature={temperature:g}", *trained]


def _rollouts(episodes: int, seed: int, linger: int) -> list[str]:
    """What all rollouts in the simulator share."""
    own = ["data=rollouts", f"data.episodes={episodes}", f"data.seed={seed}", f"data.linger={linger}"]
    return [*own, "env=robosuite"]


def online_words(cell: Cell, temperature: float | None) -> list[str]:
    """How many rollouts a method makes itself, how hot if that is said; in the simulator its budget is all of them."""
    own = [] if temperature is None else [f"{HEAT}={temperature:g}"]
    if cell.method != "simulator":
        own += [f"method.online.groups={IMAGINED}", f"method.online.iterations={ITERATIONS}"]
        return [*own, f"method.online.stop={STOP:g}"]
    budget = cell.budget * cell.round
    iterations = budget // Rollouts().group_size
    own += [f"method.online.groups={SIMULATED}", f"method.online.budget={budget}"]
    return [*own, f"method.online.iterations={iterations}"]


def hottest(solved: Mapping[float, float]) -> float:
    """The temperature of an online method's groups, from {temperature: share of explored rollouts that solved the task}.

    The hottest at which at least `MIXED` of them did: hotter groups explore more, but where all fail nothing is learned.
    The coldest where none did.
    """
    return max((heat for heat, share in solved.items() if share >= MIXED), default=min(solved))


def unless_given(words: Sequence[str], given: Sequence[str]) -> list[str]:
    """Those whose setting is not among the given ones."""
    names = {word.split("=", 1)[0] for word in given}
    return [word for word in words if word.split("=", 1)[0] not in names]


def scene_words(cell: Cell, pictures: Sequence[Path], instruction: str) -> list[str]:
    """Training from the pictures of one scene, and evaluation in that scene."""
    images = ",".join(map(str, pictures))
    return [f"env.images=[{images}]", f"env.instruction={instruction}", f"evaluate.scene={cell.seed}"]
