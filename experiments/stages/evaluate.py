"""Stage `evaluate`: a policy acts in the simulator, and its successes are counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.files import atomic_file
from envs.rollout import Actor
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import seeds
from experiments.lab.simulators import horizon_of, worker_count
from experiments.lab.statistics import Interval, wilson
from experiments.settings.config import EvaluateConfig, TaskConfig

VERSION = 1
FRACTIONS = (0.6, 0.8, 1.0)  # of the horizon, at which success is reported


@dataclass(frozen=True)
class Evaluation:
    """Outcomes of E episodes.

    horizon: control steps within which an episode must be solved to count; seed: int64 [E];
    steps: float64 [E], control steps to success, infinite where the task was not solved.
    """

    horizon: int
    seed: np.ndarray
    steps: np.ndarray

    def success(self, horizon: int | None = None) -> np.ndarray:
        """bool [E]: solved within `horizon` control steps (default: the evaluation's own)."""
        return self.steps <= (self.horizon if horizon is None else horizon)

    def rate(self, horizon: int | None = None) -> Interval:
        """Success rate with its 95 % interval."""
        success = self.success(horizon)
        return wilson(float(success.mean()), len(success))

    def horizons(self, stretch: float) -> list[int]:
        """The horizons at which success is reported."""
        fractions = [*FRACTIONS, stretch] if stretch > 1 else FRACTIONS
        return [round(fraction * self.horizon) for fraction in fractions]

    def median_length(self) -> float | None:
        """Median control steps of the successes within the horizon; None if there are none."""
        success = self.success()
        return float(np.median(self.steps[success])) if success.any() else None


def evaluate(
    context: Context,
    task: TaskConfig,
    config: EvaluateConfig,
    seed: int,
    acting: Mapping[str, object],
    inputs: Mapping[str, str],
    make_actor: Callable[[], Actor],
    label: str,
) -> tuple[Artifact, Evaluation]:
    """Roll a policy out on the evaluation seeds of `seed`.

    Args:
        acting: what else the actor's behaviour depends on, beside `inputs` (prompt, guidance).
        inputs: {role: digest} of the policy.
        make_actor: called only if there is work to do.
        label: for the progress bar.
    """
    horizon, workers = horizon_of(task, config), worker_count(config)

    def build(folder: Path) -> None:
        chosen = seeds("evaluation", seed, config.episodes)
        videos = {"video_folder": folder / "videos", "videos": config.videos} if config.videos else {}
        pool = context.simulators.pool(task, workers, config.execute, round(config.stretch * horizon))
        with bar(f"evaluate {label}", config.episodes, "episodes") as shown:
            results = pool.rollout(make_actor(), chosen.tolist(), progress=shown.update, **videos)
        rows = [{"seed": r.seed, "success": r.success, "length": r.length} for r in results]
        with atomic_file(folder / "rollouts.json") as temporary:
            temporary.write_text(json.dumps({"horizon": horizon, "rollouts": rows}, indent=1))

    resolved = {"horizon": horizon, "workers": workers}
    recipe = {"task": task, "evaluate": config, **resolved, "seed": seed, "acting": dict(acting)}
    made = announce(context.artifacts.make("evaluate", VERSION, recipe, inputs, build), label)
    return made, read_evaluation(made.folder)


def read_evaluation(folder: Path) -> Evaluation:
    """What a finished stage found."""
    content = json.loads((folder / "rollouts.json").read_text())
    rows = content["rollouts"]
    return Evaluation(
        horizon=content["horizon"],
        seed=np.array([row["seed"] for row in rows], np.int64),
        steps=np.array([row["length"] if row["success"] else np.inf for row in rows]),
    )
