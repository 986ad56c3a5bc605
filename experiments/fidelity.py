"""Does success in imagination stand for success in the simulator?

    python -m experiments.fidelity task=lift [env.path=outputs/world_model] [runs=[outputs/runs/a,outputs/runs/b]]
    python -m experiments.fidelity task=lift temperatures=[0.1,1,1.6] noises=[0,0.5] episodes=100
    python -m experiments.fidelity task=lift env.path=A second=B     and what precision is worth where B has to agree

Policies of different quality (the base at several temperatures, the same with noise on its actions, and the trained ones
of runs) are rolled out in both places from the same first states; then what each did in imagination is done in the
simulator. Then short branches: from one state in the midst of a demonstration several chunks are done in the simulator and
imagined, and the critic's gains are correlated within such groups, with true progress and with one another: what learning
from short branches needs. The last line is JSON: how the success rates agree, the precision and recall of an imagined
success, and the correlations by phase and number of decisions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

from envs.files import atomic_file
from experiments.choices.branches import BranchChoice
from experiments.choices.critics import require_sight
from experiments.choices.environments import RobosuiteChoice, measured_in
from experiments.choices.imagination import ImaginationChoice
from experiments.lab.artifacts import Artifact, Artifacts, canonical
from experiments.lab.context import Context
from experiments.lab.fidelity import fidelity, told
from experiments.lab.provenance import made_by
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.reports.run_report import table
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import require
from experiments.stages.acting import Acting, check_fit, say_what_it_sees
from experiments.stages.branches import BranchPlan
from experiments.stages.critic import examples, get_critic
from experiments.stages.fidelity import (
    Player,
    imagine_again,
    outcomes,
    replay_really,
    roll_out_imagined,
    roll_out_really,
)
from experiments.stages.ranking import Rankings, make_branches, ranking_rows
from experiments.stages.rollouts import policy_digest, trained_policy
from policy_extraction.acting import ActingPolicy
from policy_extraction.methods.bc import BC
from policy_extraction.types import Training

DEFAULTS = [
    {"task": "lift"},
    {"env": "imagination"},
    {"evaluate_env": "same"},
    {"policy": "vla_token"},
    {"critic": "wvm"},
]
DECISIONS = 4  # of a branch
TOLD = {
    "real_true": "critic on real frames ~ true progress",
    "imagined_true": "critic on imagined frames ~ true progress",
    "imagined_real": "critic on imagined ~ critic on real frames",
}


@dataclass(frozen=True)
class FidelityConfig:
    """Which policies, where."""

    task: Any = MISSING
    env: Any = MISSING  # where it is imagined
    evaluate_env: Any = MISSING  # where it is real; default what the world model imitates
    policy: Any = MISSING
    critic: Any = MISSING  # who judges branches
    temperatures: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0, 1.3, 1.6)  # of the policy before training
    noises: tuple[float, ...] = (0.3, 0.6, 0.9, 1.2)  # on its actions, at the first temperature
    runs: tuple[str, ...] = ()  # folders of runs, whose trained policies act at temperature 1
    episodes: int = 64  # of each policy
    second: str = (
        ""  # folder of another world model, which says of what was imagined whether it agrees; empty: none
    )
    branches: int = (
        24  # states that short branches begin from, by the policy before training at T = 1; 0: none
    )
    branch_size: int = 8  # branches from each
    execute: int = 4  # actions of a chunk between decisions
    horizon: int = 0  # control steps; 0: the imagined environment's
    workers: int = 0  # simulator processes; 0: one per core
    seed: int = 0
    outputs: str = "outputs"
    file: str = ""  # where the figures are written, as JSON; empty: outputs/fidelity/<task>.json

    def __post_init__(self) -> None:
        require(self.episodes >= 1, f"episodes={self.episodes} must be at least 1")
        require(self.branches >= 0, f"branches={self.branches} must not be negative")
        require(self.branch_size >= 2, f"branch_size={self.branch_size} must be at least 2")
        require(all(one > 0 for one in self.temperatures), "temperatures must be positive")
        require(bool(self.temperatures), "temperatures must name at least one")
        require(all(one > 0 for one in self.noises), "noises must be positive")


@dataclass(frozen=True)
class Entrant:
    """A policy as it is entered: its name in the table, who it is, and how it is made."""

    name: str
    player: Player
    actor: Callable[[], ActingPolicy]


def measure_fidelity(arguments: Sequence[str]) -> None:
    """Roll out, replay, compare, and write the figures."""
    store_command("fidelity", FidelityConfig, DEFAULTS)
    config: FidelityConfig = prepare_one("fidelity", arguments).config
    imagined = Acting(config.env, config.task, config.horizon, config.workers, config.execute)
    place = measured_in(config.env, config.evaluate_env)
    real = Acting(place, config.task, imagined.spec.horizon, config.workers, config.execute)
    for acting in (imagined, real):
        check_fit(config.policy.shape(acting.spec), acting.spec, acting.execute)
    if config.branches:
        _check_branches(config, real)
    say_what_it_sees(imagined, lambda: config.policy.make(imagined.spec, Training(), config.seed))
    entrants = list(_entrants(config, real))
    with Simulators() as simulators:
        context = Context(Artifacts(Path(config.outputs) / "artifacts"), Tracker(None), simulators)
        first = [
            roll_out_really(context, real, one.player, one.actor, config.episodes, config.seed)
            for one in entrants
        ]
        second = [
            roll_out_imagined(context, imagined, one.player, one.actor, start)
            for one, start in zip(entrants, first, strict=True)
        ]
        third = [replay_really(context, real, *pair) for pair in zip(first, second, strict=True)]
        again = _imagined_again(config, context, imagined, first, second) if config.second else None
        rankings = _rankings(config, context, real, imagined) if config.branches else {}
    found = [np.stack([outcomes(made) for made in row]) for row in (first, second, third)]
    agreed = None if again is None else found[1] & np.stack([outcomes(made) for made in again])
    _publish(config, [one.name for one in entrants], *found, agreed=agreed, rankings=rankings)


def _imagined_again(
    config: FidelityConfig,
    context: Context,
    imagined: Acting,
    real: Sequence[Artifact],
    done: Sequence[Artifact],
) -> list[Artifact]:
    """What another world model says of each policy's imagined rollouts."""
    second = ImaginationChoice(path=config.second)
    instruction, minimum = imagined.spec.instruction, second.minimum
    return [
        imagine_again(context, second, minimum, instruction, *pair) for pair in zip(real, done, strict=True)
    ]


def _check_branches(config: FidelityConfig, real: Acting) -> None:
    """Refuse early what could not be branched, or judged."""
    require(
        isinstance(real.env, RobosuiteChoice),
        "short branches begin from states of robosuite; leave them out (branches=0), or evaluate_env=robosuite",
    )
    require_sight(config.critic, "imagined branches")
    config.critic.check(examples(config.task))


def _rankings(
    config: FidelityConfig, context: Context, real: Acting, imagined: Acting
) -> Mapping[str, Rankings]:
    """How the critic's gains correlate within groups of branches: real with true, imagined with true and with real."""
    plan = BranchPlan(config.branches, config.branch_size, config.execute, 1.0, config.seed)
    env = BranchChoice(DECISIONS * config.execute)

    def actor() -> ActingPolicy:
        return ActingPolicy(config.policy.make(real.spec, Training(), config.seed), BC(), plan.temperature)

    branches = make_branches(context, env, real, plan, actor, config.policy.origin(real.spec))
    critic = get_critic(context.artifacts, config.task, config.critic, context.tracker)
    return {"real_true": branches.real(critic), **branches.imagined(critic, imagined)}


def _entrants(config: FidelityConfig, acting: Acting) -> Iterator[Entrant]:
    def actor(temperature: float, folder: Path | None = None) -> Callable[[], ActingPolicy]:
        def make() -> ActingPolicy:
            policy = config.policy.make(acting.spec, Training(), config.seed)
            if folder is not None:
                policy.restore(folder)
            return ActingPolicy(policy, BC(), temperature)

        return make

    origin = config.policy.origin(acting.spec)
    for temperature in config.temperatures:
        yield Entrant(f"T = {temperature:g}", Player(origin, temperature, 0.0), actor(temperature))
    for noise in config.noises:
        first = config.temperatures[0]
        yield Entrant(f"T = {first:g}, noise {noise:g}", Player(origin, first, noise), actor(first))
    for run in config.runs:
        folder = trained_policy(Path(run))
        yield Entrant(Path(run).name, Player(policy_digest(folder), 1.0, 0.0), actor(1.0, folder))


def _publish(
    config: FidelityConfig,
    names: Sequence[str],
    real: np.ndarray,
    imagined: np.ndarray,
    replayed: np.ndarray,
    *,
    agreed: np.ndarray | None,
    rankings: Mapping[str, Rankings],
) -> None:
    """Tables, a file and the last line; the outcomes are bool [P, E].

    Args:
        agreed: imagined successes on which another world model agrees.
    """
    if rankings:
        head = ["within groups", "from", "groups", *(f"{count + 1}" for count in range(DECISIONS))]
        rows = [[TOLD[name], *row] for name, of in rankings.items() for row in ranking_rows(of)]
        print(table(head, rows))
    rates = [part.mean(axis=1) for part in (real, imagined, replayed)]
    found: dict[str, Any] = {
        **fidelity(rates[0], rates[1]),
        **told(replayed.ravel(), imagined.ravel()),
        "agreement": float((real == imagined).mean()),
        "policies": len(names),
    }
    columns = ["policy", "real", "imagined", "imagined, replayed"]
    if agreed is not None:
        columns.append("agreed")
        rates.append(agreed.mean(axis=1))
        found |= {f"agreed_{name}": value for name, value in told(replayed.ravel(), agreed.ravel()).items()}
        found["agreed_gap"] = float(agreed.mean() - real.mean())
    rows = [[name, *(f"{100 * rate[row]:.0f} %" for rate in rates)] for row, name in enumerate(names)]
    print(table(columns, rows))
    print(table(["", ""], [[name, f"{value:.3g}"] for name, value in found.items()]))
    kinds = ("real", "imagined", "replayed", "agreed")[: len(rates)]
    each = {
        name: {kind: rate[row] for kind, rate in zip(kinds, rates, strict=True)}
        for row, name in enumerate(names)
    }
    file = (
        Path(config.file) if config.file else Path(config.outputs) / "fidelity" / f"{config.task.name}.json"
    )
    found |= {"branches": rankings} if rankings else {}
    content = {"settings": canonical(config), "made_by": made_by(), "policies": each, "found": found}
    with atomic_file(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps({"file": str(file), **found}))


@command
def main() -> None:
    """The command line."""
    answer(measure_fidelity, __doc__)


if __name__ == "__main__":
    main()
