"""How fast a policy gathers experience in a world model, and in robosuite: `python -m experiments.bench imagination`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import MISSING

from envs.errors import UserError
from envs.rollout import RolloutPool
from experiments.choices.imagination import ImaginationChoice
from experiments.lab.progress import bar
from experiments.lab.simulators import Simulators
from experiments.reports.run_report import table
from experiments.settings.config import require
from experiments.stages.acting import Acting, check_fit, say_what_it_sees
from policy_extraction.acting import ActingPolicy
from policy_extraction.methods.bc import BC
from policy_extraction.types import Training

REPEATS = 3  # of a rollout; the fastest counts, so that what else runs on the machine disturbs little


@dataclass(frozen=True)
class ImaginationBench:
    """A policy acting in both places; an imagined episode is not ended by success."""

    task: Any = MISSING
    env: Any = MISSING  # the world model
    policy: Any = MISSING
    worlds: tuple[int, ...] = (1, 8, 64, 256)  # imagined side by side
    horizon: int = 32  # control steps of an episode
    execute: int = 4  # actions of a chunk between decisions
    workers: int = 0  # simulator processes; 0: one per core
    seed: int = 0

    def __post_init__(self) -> None:
        require(bool(self.worlds), "worlds must name at least one number")
        require(all(one >= 1 for one in self.worlds), "worlds must be at least 1")
        require(self.horizon >= self.execute >= 1, "horizon must be at least execute, execute at least 1")


def bench_imagination(config: ImaginationBench) -> Mapping[str, Any]:
    """robosuite first, then the worlds; print a table, give the figures.

    Raises:
        UserError: env is not a world model, or the policy does not fit.
    """
    from value_model.imagination.benchmark import measure_step
    from value_model.imagination.environment import BLOCK

    env = config.env
    if not isinstance(env, ImaginationChoice):
        raise UserError(
            "bench imagination measures a world model: env=imagination, and env.path=… its folder"
        )
    places = {
        count: Acting(
            replace(env, worlds=count, minimum=config.horizon + 1),
            config.task,
            config.horizon,
            count,
            config.execute,
        )
        for count in config.worlds
    }
    real = Acting(env.real, config.task, config.horizon, config.workers, config.execute)
    check_fit(config.policy.shape(real.spec), real.spec, config.execute)
    made = config.policy.make(real.spec, Training(), config.seed)
    say_what_it_sees(next(iter(places.values())), lambda: made)
    policy = ActingPolicy(made, BC(), 1.0)
    speeds: dict[int, float] = {}
    with bar("imagination", REPEATS * (len(places) + 1), "rollouts") as shown, Simulators() as simulators:
        simulator = _speed(real.pool(simulators), policy, shown.update)
        for count, place in places.items():
            speeds[count] = _speed(place.pool(simulators), policy, shown.update)
    best = max(speeds, key=lambda count: speeds[count])
    together = min(best, BLOCK)
    alone = measure_step(env.world, together)
    rows = [["robosuite, fast camera", f"{simulator:,.0f}", "1.0"]]
    rows += [[f"{count} worlds", f"{one:,.0f}", f"{one / simulator:.1f}"] for count, one in speeds.items()]
    rows += [[f"{together} worlds, the model alone", f"{alone['control_steps_per_s']:,.0f}", ""]]
    print(table([f"{config.task.name}, policy included", "control steps/s", "ratio"], rows))
    share, rate = 100 * alone["matmul_share"], alone["matmul_flops_per_s"] / 1e9
    print(
        f"\n{alone['flops_per_step'] / 1e6:,.1f} MFLOP a step of the world, {share:.0f} % of the rate of matrix "
        f"products alone ({rate:,.0f} GFLOP/s); {alone['bytes_per_world'] / 1e3:,.0f} kB a world"
    )
    return {
        "simulator_steps_per_s": simulator,
        "imagined_steps_per_s": {str(count): one for count, one in speeds.items()},
        "ratio": speeds[best] / simulator,
        "matmul_share": alone["matmul_share"],
        "model_steps_per_s": alone["control_steps_per_s"],
        "bytes_per_world": alone["bytes_per_world"],
    }


def _speed(pool: RolloutPool, policy: ActingPolicy, progress: Callable[[int], object]) -> float:
    """Control steps a second, of as many episodes at once as there are rows; the first rollout compiles."""
    seeds = range(pool.envs.num_envs)
    pool.rollout(policy, seeds)
    fastest = 0.0
    for _ in range(REPEATS):
        began = time.perf_counter()
        steps = sum(rollout.length for rollout in pool.rollout(policy, seeds))
        fastest = max(fastest, steps / (time.perf_counter() - began))
        progress(1)
    return fastest
