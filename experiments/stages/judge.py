"""Stage `judge`: where a critic's threshold for success lies, calibrated on rollouts whose outcome is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file
from envs.rollout import Actor
from experiments.choices.judges import CriticJudge, CriticReward, Judge, RewardChoice, best_threshold
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import seeds
from experiments.stages.acting import Acting
from experiments.stages.critic import CriticSource

VERSION = 1


@dataclass(frozen=True)
class JudgeSource:
    """A judge that is ready to be loaded.

    settings: all that its rewards depend on, beside `inputs`: {role: digest};
    calibration: how well the calibrated threshold tells success, empty where none was calibrated.
    """

    load: Callable[[], Judge]
    settings: Any
    inputs: Mapping[str, str]
    calibration: Mapping[str, float]


def get_judge(
    context: Context,
    choice: RewardChoice,
    critic: CriticSource | None,
    acting: Acting,
    actor: Callable[[], Actor],
    policy: str,
    seed: int,
) -> JudgeSource:
    """The judge of a choice of `reward=`.

    Args:
        critic: where `choice.asks_critic`.
        actor: the policy before training, with digest `policy`, whose rollouts calibrate a threshold.
    """
    if not isinstance(choice, CriticReward):
        inputs = {"judge": origin} if (origin := choice.origin()) else {}
        judge: Any = choice
        return JudgeSource(lambda: judge, choice, inputs, {})
    assert critic is not None
    found: Mapping[str, float] = {}
    if choice.calibrate:
        found = _calibrate(context, choice, critic, acting, actor, policy, seed)
    threshold = found.get("threshold", choice.threshold)
    resolved = replace(choice, threshold=threshold, calibrate=0)
    return JudgeSource(lambda: _judge(resolved, critic, acting), resolved, {"critic": critic.digest}, found)


def _judge(choice: CriticReward, critic: CriticSource, acting: Acting) -> CriticJudge:
    if not acting.spec.cameras:
        raise UserError(
            "reward=critic judges from pictures, and the environment shows none; use another reward="
        )
    return CriticJudge(choice, critic.load(), acting.spec, acting.task.name, acting.task.robot)


def _calibrate(
    context: Context,
    choice: CriticReward,
    critic: CriticSource,
    acting: Acting,
    actor: Callable[[], Actor],
    policy: str,
    seed: int,
) -> Mapping[str, float]:
    """The threshold with the best F1 on rollouts of the policy before training: threshold, f1, precision, recall."""

    def build(folder: Path) -> None:
        judge = _judge(choice, critic, acting)
        chosen = seeds("calibration", seed, choice.calibrate).tolist()
        with bar("calibrate", len(chosen), "rollouts") as shown:
            pool = acting.pool(context.simulators)
            rollouts = pool.rollout(actor(), chosen, record=True, film=judge.film, progress=shown.update)
        success = [rollout.success for rollout in rollouts]
        if None in success:
            raise UserError(
                "reward.calibrate needs an environment that says whether the task is solved; set reward.threshold"
            )
        threshold, quality = best_threshold(judge.values(rollouts), np.array(success, bool))
        with atomic_file(folder / "threshold.json") as temporary:
            temporary.write_text(json.dumps({"threshold": threshold, **quality}, indent=1))

    recipe = {**acting.recipe(), "reward": choice, "seed": seed}
    inputs = {"critic": critic.digest, "policy": policy}
    made = announce(context.artifacts.make("judge", VERSION, recipe, inputs, build))
    return json.loads((made.folder / "threshold.json").read_text())
