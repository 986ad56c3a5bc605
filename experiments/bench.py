"""What things cost.

    python -m experiments.bench rollout [task=stack task.robot=Panda task.image_size=64 steps=100]
    python -m experiments.bench methods [updates=200 batch_size=256]
    python -m experiments.bench label [preset=tiny groups=3]
    python -m experiments.bench train_critic [preset=tiny dispatches=5]
    python -m experiments.bench resources [preset=wan2_2_ti2v_5b mfu=0.4 most=64]
    python -m experiments.bench scale [workers=[1,2,4] demonstrations=40]
    python -m experiments.bench imagination [task=lift env.path=outputs/world_model worlds=[1,8,64,256]]
    python -m experiments.bench dynamics worlds=[outputs/a,outputs/b] [tasks=[lift] steps=[1,2,4,8]]

rollout: frames a second of stock robosuite and of ours, same task, camera and actions, in one process.
methods: what every method adds to an update of behaviour cloning.
label, train_critic: frames and clips a second of the value model, its operations, and their share of the rate of plain
matrix products on this machine; of label also what a data set on disk costs that is ten times as large.
resources: parameters, operations, memory and time that training a preset needs, computed from its shapes.
scale: demonstrations and labels a second by processes of this machine, and by workers of a Ray cluster on it.
imagination: control steps a second of a policy acting in a world model and in robosuite, and the model's share of the rate
of plain matrix products.
dynamics: errors of world models on the same held-out episodes, and what a step of each costs; of those that draw their
frames in several numbers of steps.
The last line printed is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from envs.errors import UserError, check_choice
from experiments.lab.progress import bar
from experiments.reports.dynamics_cost import DynamicsBench, bench_dynamics
from experiments.reports.imagination_speed import ImaginationBench, bench_imagination
from experiments.reports.resources import ResourcesBench, bench_resources
from experiments.reports.run_report import table
from experiments.reports.scale import ScaleBench, bench_scale
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import TaskConfig, require
from value_model.critic.config import PRESETS


@dataclass(frozen=True)
class RolloutBench:
    """Frames a second with one camera, in one process."""

    task: Any = MISSING
    steps: int = 100


@dataclass(frozen=True)
class MethodsBench:
    """The time of an update."""

    updates: int = 200
    batch_size: int = 256

    def __post_init__(self) -> None:
        require(self.updates >= 1, f"updates={self.updates} must be at least 1")
        require(self.batch_size >= 1, f"batch_size={self.batch_size} must be at least 1")


@dataclass(frozen=True)
class LabelBench:
    """Labelling, from pictures to values."""

    preset: str = "tiny"
    groups: int = 3  # of made-up episodes that are labelled in lockstep

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, PRESETS)
        require(self.groups >= 2, f"groups={self.groups} must be at least 2: the first is left out")


@dataclass(frozen=True)
class TrainCriticBench:
    """Training of the value model, from latents to new weights."""

    preset: str = "tiny"
    dispatches: int = 5  # compiled calls, of several updates each; the first is left out

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, PRESETS)
        require(self.dispatches >= 2, f"dispatches={self.dispatches} must be at least 2")


def bench_rollout(config: RolloutBench) -> Mapping[str, Any]:
    """Stock robosuite and ours, and the ratio."""
    from envs.robosuite.benchmark import measure_rollout

    task: TaskConfig = config.task
    found = measure_rollout(task.name, task.robot, task.image_size, config.steps)
    rows = [
        ["stock robosuite", f"{found['stock_fps']:.1f}"],
        ["ours", f"{found['fps']:.1f}"],
        ["ratio", f"{found['ratio']:.1f}"],
    ]
    size = task.image_size
    print(table([f"{task.name}, {task.robot}, {size}×{size}", "frames/s"], rows))
    return found


def bench_methods(config: MethodsBench) -> Mapping[str, Any]:
    """Every method over plain behaviour cloning."""
    from policy_extraction.benchmark import measure_methods

    with bar("methods", config.updates, "updates") as shown:
        found = measure_methods(config.updates, config.batch_size, progress=shown.update)
    rows = [[method, f"{100 * cost['overhead']:+.1f} %"] for method, cost in found.items()]
    print(table(["method", "update time over bc"], rows))
    return found


def bench_label(config: LabelBench) -> Mapping[str, Any]:
    """Labelling, and its share of the rate of plain matrix products."""
    from value_model.critic.benchmark import TIMES, measure_growth, measure_label

    model = PRESETS[config.preset]
    with bar("label", 0, "frames") as shown:
        found = measure_label(model, config.groups, shown.update)
    grown = measure_growth(model)
    rows = [
        [f"{name} of {TIMES} × the data", f"× {grown[f'{name}_growth']:.2f}"] for name in ("time", "memory")
    ]
    return _speed("frames", "frame", config.preset, {**found, **grown}, rows)


def bench_train_critic(config: TrainCriticBench) -> Mapping[str, Any]:
    """Training, and its share of the rate of plain matrix products."""
    from value_model.critic.benchmark import measure_train

    model = PRESETS[config.preset]
    with bar("train", config.dispatches * model.optim.updates_per_dispatch, "updates") as shown:
        found = measure_train(model, config.dispatches, shown.update)
    return _speed("clips", "clip", config.preset, found)


def _speed(
    things: str, thing: str, preset: str, found: Mapping[str, float], more: Sequence[list[str]] = ()
) -> Mapping[str, Any]:
    rows = [
        [f"{things}/s", f"{found[f'{things}_per_s']:,.0f}"],
        [f"operations a {thing}", f"{found[f'flops_per_{thing}'] / 1e6:,.1f} MFLOP"],
        ["matrix products alone", f"{found['matmul_flops_per_s'] / 1e9:,.0f} GFLOP/s"],
        ["share of that rate", f"{100 * found['matmul_share']:.0f} %"],
        ["peak memory", f"{found['peak_rss_mb']:,.0f} MB"],
        *more,
    ]
    print(table([preset, ""], rows))
    return found


BENCHES: dict[str, tuple[type, list[dict[str, str]], Callable[[Any], Mapping[str, Any]]]] = {
    "rollout": (RolloutBench, [{"task": "stack"}], bench_rollout),
    "methods": (MethodsBench, [], bench_methods),
    "label": (LabelBench, [], bench_label),
    "train_critic": (TrainCriticBench, [], bench_train_critic),
    "resources": (ResourcesBench, [], bench_resources),
    "scale": (ScaleBench, [], bench_scale),
    "imagination": (
        ImaginationBench,
        [{"task": "lift"}, {"env": "imagination"}, {"policy": "vla_token"}],
        bench_imagination,
    ),
    "dynamics": (DynamicsBench, [{"policy": "vla_token"}], bench_dynamics),
}
"""The settings of each measurement, the default choices of its groups, and what measures."""


def run_bench(arguments: Sequence[str]) -> None:
    """Measure, print a table, and as the last line JSON.

    Raises:
        UserError: not the name of a measurement, or a mistake in its settings.
    """
    if not arguments:
        raise UserError(f"say what to measure: {' or '.join(BENCHES)}")
    check_choice("measurement", arguments[0], BENCHES)
    schema, defaults, measure = BENCHES[arguments[0]]
    store_command("bench", schema, defaults)
    print(json.dumps(measure(prepare_one("bench", arguments[1:]).config)))


@command
def main() -> None:
    """The command line."""
    answer(run_bench, __doc__)


if __name__ == "__main__":
    main()
