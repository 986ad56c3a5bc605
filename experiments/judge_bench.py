"""Judges of `reward=` against the truth: precision, recall, F1, AUC and the share of rollouts without a verdict.

    python -m experiments.judge_bench task=lift policy=vla_token rewards=[critic,classifier] judges.critic.calibrate=64
    python -m experiments.judge_bench rewards=[vlm] judges.vlm.vlm.model=… judges.vlm.vlm.base_url=http://localhost:8000/v1

The policy rolls out once at every temperature, on seeds that no judge learned from, and each judge sees the same rollouts.
The truth is success as `evaluate_env=` says it; where `env=` is another, such as imagination, rollouts begin from its first
pictures, and the same actions are repeated in it. Prints a table; the last line is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

from envs.contract import Start
from envs.errors import UserError
from envs.replay import replay
from envs.rollout import Actor, Rollout
from experiments.choices.critics import require_sight
from experiments.choices.environments import measured_in
from experiments.choices.judges import Costly, Graded, Judge
from experiments.choices.mixed_judges import Judges, narrowed, shared_film
from experiments.lab.artifacts import Artifacts, digest
from experiments.lab.context import Context
from experiments.lab.progress import bar
from experiments.lab.seeds import first_seed, seeds
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.reports.verdicts import verdict_quality, verdict_table
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import require
from experiments.stages.acting import Acting, check_fit
from experiments.stages.critic import examples, get_critic
from experiments.stages.judge import RolloutWorkshop
from experiments.stages.rollouts import policy_digest, trained_policy
from policy_extraction.acting import ActingPolicy
from policy_extraction.methods.bc import BC
from policy_extraction.types import Training

GROUPS = [
    {"task": "stack"},
    {"env": "robosuite"},
    {"evaluate_env": "same"},
    {"critic": "wvm"},
    {"policy": "vla_token"},
]


@dataclass(frozen=True)
class JudgeBenchConfig:
    """Who is judged by whom, and on how much."""

    task: Any = MISSING
    env: Any = MISSING  # where the policy acts
    evaluate_env: Any = MISSING  # where the truth is known, and judges learn
    critic: Any = MISSING
    policy: Any = MISSING
    trained: str = ""  # a run's folder, or its policy's: who acts; empty: `policy=` before training
    rewards: tuple[str, ...] = (
        "critic",
    )  # judges: success, env, critic, classifier, vlm, or package.module:name
    judges: Judges = field(default_factory=Judges)  # their settings
    rollouts: int = 48  # at each temperature
    temperatures: tuple[float, ...] = (1.0,)  # of action tokens
    cut: float = 0.5  # the reward from which on a rollout counts as solved
    execute: int = 4  # actions of a chunk that are executed
    horizon: int = 0  # control steps; 0: the environment's own
    workers: int = 0  # rows; 0: one per core
    seed: int = 0
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        require(len(self.rewards) > 0, "name the judges, for instance rewards=[critic,classifier]")
        for name in self.rewards:
            self.judges.choice(name)
        require(self.rollouts >= 1, f"rollouts={self.rollouts} must be at least 1")
        require(
            len(self.temperatures) > 0 and min(self.temperatures) > 0,
            f"temperatures={list(self.temperatures)} must be positive numbers",
        )
        require(self.execute >= 1, f"execute={self.execute} must be at least 1")
        first_seed("judging", self.seed)


class JudgeBench:
    """The judges of a configuration, and the rollouts that they judge."""

    def __init__(self, config: JudgeBenchConfig, context: Context) -> None:
        self.config, self.context = config, context
        env = config.evaluate_env
        self.acting = Acting(config.env, config.task, config.horizon, config.workers, config.execute)
        self.truth = replace(self.acting, env=measured_in(config.env, env))
        self.choices = {name: config.judges.choice(name) for name in config.rewards}
        self.folder = trained_policy(Path(config.trained)) if config.trained else None

    def check(self) -> None:
        """Say before any long work what does not fit or is missing.

        Raises:
            UserError: what it is.
        """
        config = self.config
        check_fit(config.policy.shape(self.acting.spec), self.acting.spec, config.execute)
        for choice in self.choices.values():
            choice.check()
        if any(choice.asks_critic for choice in self.choices.values()):
            require_sight(config.critic, "rollouts")
            config.critic.check(examples(config.task))

    def measure(self) -> Mapping[str, Any]:
        """The quality of each judge, over the rollouts of all temperatures and at each of them."""
        judges = self._judges()
        successes, rewards, values = [], {name: [] for name in judges}, {name: [] for name in judges}
        for number, temperature in enumerate(self.config.temperatures):
            rollouts, success = self._rollouts(number, temperature, shared_film(list(judges.values())))
            successes.append(success)
            for name, judge in judges.items():
                shown = narrowed(rollouts, judge.film)
                given = judge.rewards(shown)
                rewards[name].append(given)
                values[name].append(judge.values(shown) if isinstance(judge, Graded) else given)
        solved, cut = np.concatenate(successes), self.config.cut
        found = {
            name: verdict_quality(np.concatenate(rewards[name]), np.concatenate(values[name]), solved, cut)
            for name in judges
        }
        each = {
            f"{temperature:g}": {
                "success": float(success.mean()),
                **{
                    name: verdict_quality(rewards[name][number], values[name][number], success, cut)
                    for name in judges
                },
            }
            for number, (temperature, success) in enumerate(
                zip(self.config.temperatures, successes, strict=True)
            )
        }
        cost = {name: dict(judge.cost) for name, judge in judges.items() if isinstance(judge, Costly)}
        return {
            "rollouts": len(solved),
            "success": float(solved.mean()),
            "judges": found,
            "temperatures": each,
            "cost": cost,
        }

    def _judges(self) -> dict[str, Judge]:
        config = self.config
        origin = config.policy.origin(self.acting.spec)
        workshop = RolloutWorkshop(
            self.context,
            self.acting,
            self.truth,
            lambda: self._actor(max(config.temperatures)),
            digest([policy_digest(self.folder) if self.folder else origin, max(config.temperatures)]),
            config.seed,
            lambda: get_critic(self.context.artifacts, config.task, config.critic, self.context.tracker),
        )
        return {name: choice.source(workshop).load() for name, choice in self.choices.items()}

    def _actor(self, temperature: float) -> Actor:
        policy = self.config.policy.make(self.acting.spec, Training(), self.config.seed)
        if self.folder is not None:
            policy.restore(self.folder)
        return ActingPolicy(policy, BC(), temperature)

    def _rollouts(self, number: int, temperature: float, film: int) -> tuple[list[Rollout], np.ndarray]:
        """The rollouts at one temperature, and whether each solved the task, bool [R]."""
        config = self.config
        chosen = seeds("judging", config.seed, (number + 1) * config.rollouts)[number * config.rollouts :]
        with bar("roll out", config.rollouts, "rollouts") as shown:
            rollouts = self.acting.pool(self.context.simulators).rollout(
                self._actor(temperature),
                self._starts(chosen.tolist()),
                act_seed=config.seed,
                record=True,
                film=film,
                progress=shown.update,
            )
        told = [rollout.success for rollout in rollouts]
        if self._elsewhere:
            done = [rollout.recording.actions() for rollout in rollouts if rollout.recording is not None]
            told = replay(self.truth.pool(self.context.simulators).envs, chosen.tolist(), done)
        if None in told:
            raise UserError(
                "nobody says whether the task is solved; choose evaluate_env= that does, for instance robosuite"
            )
        return rollouts, np.array(told, bool)

    @property
    def _elsewhere(self) -> bool:
        """Whether the policy acts elsewhere than where the truth is known."""
        return self.acting.env != self.truth.env

    def _starts(self, chosen: Sequence[int]) -> list[int | Start]:
        """Where the rollouts begin: elsewhere too at what the true environment shows first, if that can be."""
        if not (self._elsewhere and self.acting.spec.any_start):
            return list(chosen)
        envs = self.truth.pool(self.context.simulators).envs
        starts: list[int | Start] = []
        for first in range(0, len(chosen), envs.num_envs):
            block = list(chosen[first : first + envs.num_envs])
            mask = np.arange(envs.num_envs) < len(block)
            padded = block + [block[-1]] * (envs.num_envs - len(block))
            seen, _ = envs.reset(seed=padded, options={"reset_mask": mask})
            for row, seed in enumerate(block):
                pictures = {camera: seen["images"][camera][row].copy() for camera in self.acting.spec.cameras}
                starts.append(Start(seed, images=pictures, proprio=seen["proprio"][row].copy()))
        return starts


def judge_bench(arguments: Sequence[str]) -> None:
    """The command with its arguments."""
    store_command("judge_bench", JudgeBenchConfig, GROUPS)
    config: JudgeBenchConfig = prepare_one("judge_bench", arguments).config
    with Simulators() as simulators:
        context = Context(Artifacts(Path(config.outputs) / "artifacts"), Tracker(None), simulators)
        bench = JudgeBench(config, context)
        bench.check()
        found = bench.measure()
    print(f"{found['rollouts']} rollouts of {config.env.place(config.task)}, {found['success']:.0%} solved\n")
    print(verdict_table(found["judges"]))
    print(json.dumps(found))


@command
def main() -> None:
    """The command line."""
    answer(judge_bench, __doc__)


if __name__ == "__main__":
    main()
