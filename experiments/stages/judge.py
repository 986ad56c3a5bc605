"""Stage `judge`: where a critic's threshold for success lies, calibrated on rollouts whose outcome is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.files import atomic_file
from envs.rollout import Actor
from experiments.choices.critic_judge import CriticReward, best_threshold, critic_judge
from experiments.choices.critics import CriticSource
from experiments.choices.judges import Learned
from experiments.choices.seeing_judges import ClassifierReward
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import seeds
from experiments.settings.config import TaskConfig
from experiments.stages.acting import Acting
from experiments.stages.classifier import train_success_classifier

VERSION = 1


@dataclass(frozen=True)
class RolloutWorkshop:
    """A `JudgeWorkshop`, for judges of what is done in `acting`.

    truth: where rollouts whose outcome is known come from; actor: the policy before training, with digest `policy`, that
    makes them; get_critic: the critic of `critic=`, asked for where one is needed.
    """

    context: Context
    acting: Acting
    truth: Acting
    actor: Callable[[], Actor]
    policy: str
    seed: int
    get_critic: Callable[[], CriticSource]

    @property
    def spec(self) -> EnvSpec:
        """See `JudgeWorkshop`."""
        return self.acting.spec

    @property
    def task(self) -> TaskConfig:
        """See `JudgeWorkshop`."""
        return self.acting.task

    def critic(self) -> CriticSource:
        """See `JudgeWorkshop`."""
        return self.get_critic()

    def calibrated(self, choice: CriticReward) -> Mapping[str, float]:
        """See `JudgeWorkshop`."""
        return calibrate(self.context, choice, self.critic(), self.truth, self.actor, self.policy, self.seed)

    def classifier(self, choice: ClassifierReward) -> Learned:
        """See `JudgeWorkshop`."""
        return train_success_classifier(self.context, choice, self.truth, self.actor, self.policy, self.seed)


def calibrate(
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
        judge = critic_judge(choice, critic, acting.spec, acting.task)
        chosen = seeds("calibration", seed, choice.calibrate).tolist()
        with bar("calibrate", len(chosen), "rollouts") as shown:
            pool = acting.pool(context.simulators)
            rollouts = pool.rollout(actor(), chosen, record=True, film=judge.film, progress=shown.update)
        success = [rollout.success for rollout in rollouts]
        if None in success:
            raise UserError(
                "reward.calibrate needs an environment that says whether the task is solved (evaluate_env=); "
                "set reward.threshold"
            )
        threshold, quality = best_threshold(judge.values(rollouts), np.array(success, bool))
        with atomic_file(folder / "threshold.json") as temporary:
            temporary.write_text(json.dumps({"threshold": threshold, **quality}, indent=1))

    recipe = {**acting.recipe(), "reward": choice, "seed": seed}
    inputs = {"critic": critic.digest, "policy": policy}
    made = announce(context.artifacts.make("judge", VERSION, recipe, inputs, build))
    return json.loads((made.folder / "threshold.json").read_text())
