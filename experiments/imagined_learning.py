"""What an experiment does in a world model beside rollouts: its data, short branches, and the critic's gradient."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from envs.errors import UserError
from experiments.choices.branches import BranchChoice
from experiments.choices.critic_judge import CriticReward
from experiments.choices.imagination import ImaginationChoice
from experiments.choices.imagined_data import ImaginedData
from experiments.lab.artifacts import Artifact, digest
from experiments.settings.plugins import source_digest
from experiments.stages.acting import Acting
from experiments.stages.branches import BranchPlan
from experiments.stages.data import Data
from experiments.stages.follow import Following, follow
from experiments.stages.imagined import imagine_data
from experiments.stages.ranking import Rankings, doubt, make_branches
from experiments.stages.rollouts import folder_of, policy_digest
from policy_extraction.acting import ActingPolicy
from policy_extraction.types import Foresight

if TYPE_CHECKING:
    from experiments.pipeline import Experiment


def world_of(experiment: Experiment) -> ImaginationChoice:
    """`env=` as a world model.

    Raises:
        UserError: it is none.
    """
    if not isinstance(experiment.config.env, ImaginationChoice):
        raise UserError("this method follows a gradient through a world model: set env=imagination")
    return experiment.config.env


def imagined_data(experiment: Experiment, data: ImaginedData, trained: Artifact | None, number: int) -> Data:
    """Attempts in a world model of the policy of `data.policy`, or of one that was trained on those before."""
    config, folder = experiment.config, folder_of(trained, data.policy)
    return imagine_data(
        experiment.context,
        data,
        Acting(data.world, config.task, 0, config.evaluate.workers, data.execute),
        lambda: ActingPolicy(experiment.policy(folder), experiment.prompted, data.temperature),
        policy_digest(folder) if folder else experiment.origin,
        number,
    )


def follow_critic(experiment: Experiment, foresight: Foresight) -> Artifact:
    """The policy after it followed the critic's gradient through the world model of `env=`."""
    config = experiment.config
    plan = Following(
        world_of(experiment), config.task, config.method, foresight, config.train, config.batch, config.seed
    )
    inputs = {**experiment.start, "critic": experiment.critic.digest}
    return follow(experiment.context, plan, inputs, experiment.policy, experiment.critic.load)


def say_doubt(experiment: Experiment) -> None:
    """Say where the critic's gain on short imagined branches is not known to follow true progress."""
    rankings, online = try_branches(experiment), experiment.online
    if rankings and online and (line := doubt(rankings, online.group_size)):
        print(line, file=sys.stderr)


def try_branches(experiment: Experiment) -> Rankings | None:
    """How the critic's gain on imagined branches follows true progress within groups of the policy before training.

    None unless the method learns from short imagined branches by that gain, or where `branch_check` is 0.
    """
    config, online = experiment.config, experiment.online
    env, reward = config.env, config.reward
    if not (isinstance(env, ImaginationChoice) and isinstance(reward, CriticReward) and online):
        return None
    horizon = experiment.acting.spec.horizon
    if env.recorded:  # there is nowhere to do what was imagined
        return None
    if reward.of != "gain" or horizon >= env.real.spec(config.task).horizon or not config.branch_check:
        return None
    plan = BranchPlan(
        config.branch_check,
        online.group_size,
        math.lcm(reward.every, experiment.acting.spec.stride),  # the moments that it sees
        online.temperature,
        config.seed,
        "branch_check",
    )
    branches = make_branches(
        experiment.context,
        BranchChoice(horizon),
        experiment.acting,
        plan,
        lambda: ActingPolicy(experiment.policy(), config.method, online.temperature),
        digest([experiment.origin, source_digest(type(config.method))]),
    )
    return branches.imagined(experiment.critic, experiment.acting)["imagined_true"]
