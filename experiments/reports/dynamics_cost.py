"""What world models foretell, and what a step of each costs: `python -m experiments.bench dynamics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from envs.robosuite.tasks import task_spec
from experiments.lab.artifacts import Artifacts
from experiments.lab.context import Context
from experiments.lab.progress import bar
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.reports.run_report import table
from experiments.settings.config import require
from experiments.stages.experience import Experience, gather

if TYPE_CHECKING:
    from value_model.imagination.quality import Recorded
    from value_model.imagination.world_model import WorldModel

HORIZONS = (1, 4, 8, 16)  # steps of the world
SHARP = 8  # steps after which a picture's sharpness is measured
TOGETHER = 64  # worlds side by side


@dataclass(frozen=True)
class DynamicsBench:
    """World models, on the same held-out episodes of each task."""

    policy: Any = MISSING  # whose attempts are among them
    worlds: tuple[str, ...] = ()  # their folders
    steps: tuple[int, ...] = (1, 2, 4, 8)  # in which a frame is drawn, of those that draw
    tasks: tuple[str, ...] = ("lift",)
    experience: Experience = field(default_factory=Experience)  # whose held-out part is watched
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        require(bool(self.worlds), "say which world models: worlds=[outputs/world_model,…]")
        require(bool(self.tasks), "tasks must name at least one task")
        for name in self.tasks:
            task_spec(name)
        require(bool(self.steps) and min(self.steps) >= 1, "steps must name numbers of at least 1")


def bench_dynamics(config: DynamicsBench) -> Mapping[str, Any]:
    """A row for every world model, and for every number of steps of those that draw; print a table, give the figures.

    Raises:
        UserError: a folder holds no world model, or one of another shape than the held-out episodes.
    """
    from value_model.imagination.quality import record
    from value_model.imagination.world_model import load_world_model

    worlds = {Path(name).name: load_world_model(Path(name)) for name in config.worlds}
    readings = {name: _readings(world, config.steps) for name, world in worlds.items()}
    require(len(worlds) == len(config.worlds), "two folders of worlds= have the same name; rename one")
    with Simulators() as simulators:
        context = Context(Artifacts(Path(config.outputs) / "artifacts"), Tracker(None), simulators)
        watched = {
            task: [part.open() for part in gather(context, task, config.experience, config.policy, True)]
            for task in config.tasks
        }
    rows = []
    with bar("dynamics", len(watched) * sum(map(len, readings.values())), "readings") as shown:
        for task, stores in watched.items():
            for name, world in worlds.items():
                clips = record(world, stores, HORIZONS[-1])
                for steps, reading in readings[name]:
                    rows.append({"task": task, "world": name, "steps": steps, **_row(reading, clips)})
                    shown.update(1)
    _print(rows)
    return {"rows": rows}


def _readings(world: WorldModel, steps: Sequence[int]) -> list[tuple[int, WorldModel]]:
    """The same weights by numbers of steps in which a frame is drawn; 0 where none is."""
    from value_model.imagination.benchmark import drawn_in, draws

    return [(count, drawn_in(world, count)) for count in steps] if draws(world) else [(0, world)]


def _row(world: WorldModel, clips: Recorded) -> Mapping[str, Any]:
    from value_model.imagination.benchmark import measure_step, sharpness
    from value_model.imagination.quality import quality

    found, step = quality(world, clips, HORIZONS), measure_step(world, TOGETHER)
    imagined, recorded = sharpness(world, clips, SHARP)
    errors = ("latent", "latent_copy", "latent_shuffled", "moved", "moved_copy", "hand_cm")
    return {
        **{name: {str(count): error for count, error in found[name].items()} for name in errors},
        "sharpness": imagined,
        "sharpness_recorded": recorded,
        **step,
    }


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    first = rows[0]["flops_per_step"] / rows[0]["matmul_share"]

    def line(row: Mapping[str, Any]) -> list[str]:
        latent = " ".join(f"{error:.3f}" for error in row["latent"].values())
        moved = " ".join(f"{error:.0f}" for error in row["moved"].values())
        cost = row["flops_per_step"] / row["matmul_share"] / first
        speed = f"{row['control_steps_per_s']:,.0f}", f"{cost:.1f}", f"{row['bytes_per_world'] / 1e3:,.0f}"
        sharp = f"{row['sharpness']:.1f} of {row['sharpness_recorded']:.1f}"
        name = f"{row['world']}, {row['steps']} steps" if row["steps"] else str(row["world"])
        return [str(row["task"]), name, latent, moved, sharp, *speed]

    head = [
        "task",
        "world",
        f"latent error after {', '.join(rows[0]['latent'])} steps",
        "pixels that moved",
        "sharpness",
    ]
    print(table([*head, "control steps/s", "cost", "kB a world"], [line(row) for row in rows]))
    print(
        "\nsharpness: of decoded recorded latents behind it; "
        f"cost: time of a step of {TOGETHER} worlds beside plain matrix products, the first row's as 1"
    )
