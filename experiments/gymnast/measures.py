"""What the world models of a comparison are worth, on episodes that no row learns from."""

from __future__ import annotations

from pathlib import Path

from experiments.gymnast.config import PARTS
from experiments.gymnast.runs import LINGER, Runs
from experiments.gymnast.words import common, data_seed, rollout_words, transplant_words
from experiments.stages.data import Data
from experiments.stages.world_quality import Quality, measure_world_model
from experiments.stages.world_verdicts import Verdicts, world_verdicts


def quality(runs: Runs, budget: int, number: int, round: int) -> tuple[Quality, Path]:
    """How well a world model foretells held-out demonstrations of each task, and the folder of its strips."""
    made, tasks = runs.made_world(budget, number, round), runs.config.tasks
    held = {task: [runs.demonstrated(task, held_out=True)] for task in tasks}
    return measure_world_model(runs.context, made, held, runs.seen(budget, number, round))


def verdicts(runs: Runs, budget: int, number: int, round: int) -> dict[str, dict[str, Verdicts]]:
    """{task: {kind: what a world model says of rollouts of that kind that it has not seen}}."""
    unseen = {task: _unseen(runs, task, number) for task in runs.config.tasks}
    return world_verdicts(runs.context, runs.made_world(budget, number, round), unseen)


def _unseen(runs: Runs, task: str, number: int) -> dict[str, Data]:
    """{kind: rollouts of the policy before training that only measure}."""
    count, linger = runs.config.verdicts, LINGER["world"]
    seeds = [data_seed(number, 1, part) for part in (PARTS - 2, PARTS - 1)]
    usual = common(runs.config, task, 0, runs.given)
    own = runs.experiment([*usual, *rollout_words(count, 1.0, seeds[0], linger, None)]).collect()
    words = transplant_words(count, seeds[1], linger, [own.folder])
    return {"own": own, "of another": runs.experiment([*usual, *words]).collect()}
