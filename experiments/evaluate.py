"""Measure any policy in any environment, without training: one of a run, one that ships, or one behind a server.

    python -m experiments.evaluate run=outputs/runs/first [evaluate.episodes=100]
    python -m experiments.evaluate policy=vla task=lift
    python -m experiments.evaluate policy=vla_token task=lift act=best_of_n act.n=8 reward=critic
    python -m experiments.evaluate policy=remote policy.url=ws://localhost:8000 task=stack
        policy.names.cameras={workspace: observation/image, wrist: observation/wrist_image} policy.image_size=224

With `act=best_of_n` a world model imagines several chunks of the policy and a judge picks one: nothing is trained.
A policy behind a server speaks openpi's websocket protocol. The last line is JSON: success with its interval, and films.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from envs.rollout import RolloutPool
from experiments.choices.act import BestOfNAct
from experiments.lab.artifacts import Artifacts
from experiments.lab.context import Context
from experiments.lab.seeds import first_seed
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.reports.run_report import counted
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import EvaluateConfig
from experiments.stages.acting import Acting, check_fit, say_what_it_sees
from experiments.stages.best_of_n import BestOfN
from experiments.stages.critic import get_critic
from experiments.stages.evaluate import Evaluation, Trial, evaluate, measured, prompt_of
from experiments.stages.film import film
from experiments.stages.judge import RolloutWorkshop
from experiments.stages.saved import SavedPolicy, check_as_trained, with_choices
from policy_extraction.types import Training

DEFAULTS = [
    {"task": "stack"},
    {"env": "robosuite"},
    {"method": "bc"},
    {"policy": "vla"},
    {"act": "policy"},
    {"reward": "critic"},
    {"critic": "wvm"},
]


@dataclass(frozen=True)
class EvaluateCommandConfig:
    """Which policy, where."""

    task: Any = MISSING
    env: Any = MISSING
    method: Any = MISSING  # whose prompt the policy is given
    policy: Any = MISSING
    act: Any = MISSING  # whether it looks before it acts
    reward: Any = MISSING  # who chooses, where there is a choice
    critic: Any = MISSING  # whom `reward=critic` asks
    run: str = (
        ""  # the folder of a run, or of its policy, whose weights act; its choices hold where none are made
    )
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    seed: int = 0
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        first_seed("evaluation", self.seed)


def measure(arguments: Sequence[str]) -> None:
    """The command with its arguments.

    Raises:
        UserError: a mistake in them, or the policy does not fit the environment.
    """
    store_command("evaluate", EvaluateCommandConfig, DEFAULTS)
    config: EvaluateCommandConfig = prepare_one("evaluate", with_choices(arguments)).config
    check_as_trained(config.run, config)
    settings = config.evaluate
    acting = Acting(config.env, config.task, settings.horizon, settings.workers, settings.execute)
    check_fit(config.policy.shape(acting.spec), acting.spec, acting.execute)
    say_what_it_sees(acting, lambda: config.policy.make(acting.spec, Training(), config.seed))
    with Simulators() as simulators, Simulators() as imagined:
        context = Context(Artifacts(Path(config.outputs) / "artifacts"), Tracker(None), simulators)
        trial = _trial(context, imagined, config, acting)
        found = evaluate(context, trial, "policy")
        films = film(context, trial) if acting.spec.cameras else None
    _publish(found, films)


def _trial(context: Context, imagined: Simulators, config: EvaluateCommandConfig, acting: Acting) -> Trial:
    settings, within = config.evaluate, acting.spec.horizon
    saved = SavedPolicy(config.policy, config.method, config.run, settings.temperature, config.seed)
    trial = Trial(
        acting=measured(acting, settings),
        horizon=within,
        config=settings,
        seed=config.seed,
        prompt=prompt_of(config.method),
        inputs={"policy": saved.digest(acting.spec)},
        make_actor=lambda: saved.actor(acting.spec),
    )
    return _looking(context, imagined, config, trial) if isinstance(config.act, BestOfNAct) else trial


def _looking(context: Context, imagined: Simulators, config: EvaluateCommandConfig, trial: Trial) -> Trial:
    """The same trial of a policy that imagines what would come of several chunks, and does the best."""
    act, acting = config.act, trial.acting
    where = Acting(act.env(act.n), config.task, act.steps, 0, act.steps)
    check_fit(config.policy.shape(acting.spec), where.spec, act.steps)
    workshop = RolloutWorkshop(
        context,
        where,
        replace(acting, horizon=trial.horizon),
        trial.make_actor,
        trial.inputs["policy"],
        config.seed,
        lambda: get_critic(context.artifacts, config.task, config.critic, context.tracker),
    )
    judge = config.reward.source(workshop)

    @cache
    def imagination(worlds: int) -> RolloutPool:
        return replace(where, env=act.env(worlds)).pool(imagined)

    return replace(
        trial,
        prompt={**trial.prompt, "act": act, "judge": judge.settings},
        inputs={**trial.inputs, "world": where.env.origin(), **judge.inputs},
        make_actor=lambda: BestOfN(trial.make_actor(), act.n, imagination, judge.load()),
    )


def _publish(found: Evaluation, films: Path | None) -> None:
    rate = found.rate()
    if rate is not None:
        low, high = (f"{100 * bound:.0f}" for bound in (rate.low, rate.high))
        print(f"success within {found.horizon} control steps: {100 * rate.mean:.0f} % [{low}, {high}]")
    if found.resets:
        print("resets: {by_expert} by the expert, {by_hand} by hand".format(**found.resets))
    if found.failures:
        print("of the others: " + counted(found.failures))
    content = {
        "episodes": len(found.seed),
        "horizon": found.horizon,
        "success": asdict(rate) if rate else None,
        "median_length_of_successes": found.median_length() if found.known else None,
        "mean_return": float(found.returns.mean()),
        "films": str(films) if films else None,
        "resets": found.resets,
        "failures": found.failures,
    }
    print(json.dumps(content))


@command
def main() -> None:
    """The command line."""
    answer(measure, __doc__)


if __name__ == "__main__":
    main()
