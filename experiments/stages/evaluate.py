"""Stage `evaluate`: a policy acts in the simulator, and its successes are counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.files import atomic_file
from envs.rollout import Actor, Rollout
from experiments.choices.environments import EnvChoice, TellsFailures
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import seeds
from experiments.lab.statistics import Interval, wilson
from experiments.settings.config import EvaluateConfig
from experiments.stages.acting import Acting
from policy_extraction.types import Method, PromptedMethod

VERSION = 2
FRACTIONS = (0.6, 0.8, 1.0)  # of the horizon, at which success is reported


@dataclass(frozen=True)
class Evaluation:
    """Outcomes of E episodes.

    horizon: control steps within which an episode must be solved to count; seed: int64 [E];
    steps: float64 [E], control steps to success, infinite where the task was not solved, NaN where the environment does
    not say; returns: float64 [E], the environment's reward, summed over each episode; by_hand: of the episodes that were
    to begin where another had ended, whether they had to be begun anew; failed: what became of those that were not solved,
    in a word each, as far as the environment tells (`TellsFailures`).
    """

    horizon: int
    seed: np.ndarray
    steps: np.ndarray
    returns: np.ndarray
    by_hand: tuple[bool, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether the environment says which episodes were solved."""
        return not np.isnan(self.steps).any()

    @property
    def resets(self) -> dict[str, int] | None:
        """How often an expert brought the scene back between two episodes, and how often that took a reset; None where
        every episode began from its seed.
        """
        if not self.by_hand:
            return None
        return {"by_expert": self.by_hand.count(False), "by_hand": self.by_hand.count(True)}

    @property
    def failures(self) -> dict[str, int]:
        """What became of those that were not solved, and of how many, the most frequent first; empty where nothing tells."""
        return failures([self])

    def success(self, horizon: int | None = None) -> np.ndarray:
        """bool [E]: solved within `horizon` control steps (default: the evaluation's own)."""
        assert self.known, "ask `known` first"
        return self.steps <= (self.horizon if horizon is None else horizon)

    def rate(self, horizon: int | None = None) -> Interval | None:
        """Success rate with its 95 % interval; None where it is not known."""
        if not self.known:
            return None
        success = self.success(horizon)
        return wilson(float(success.mean()), len(success))

    def horizons(self, stretch: float) -> list[int]:
        """The horizons at which success is reported."""
        fractions = [*FRACTIONS, stretch] if stretch > 1 else FRACTIONS
        return [round(fraction * self.horizon) for fraction in fractions]

    def median_length(self) -> float | None:
        """Median control steps of the successes within the horizon; None if there are none."""
        return median_length([self])


def median_length(evaluations: Sequence[Evaluation]) -> float | None:
    """Median control steps of all successes within the horizon; None if there are none."""
    solved = np.concatenate([one.steps[one.steps <= one.horizon] for one in evaluations])
    return float(np.median(solved)) if len(solved) else None


def failures(evaluations: Sequence[Evaluation]) -> dict[str, int]:
    """What became of all episodes that were not solved, as far as that is told, the most frequent first."""
    return dict(Counter(word for one in evaluations for word in one.failed).most_common())


@dataclass(frozen=True)
class Trial:
    """Who acts, where, and on which seeds.

    acting: the environment, whose horizon is the evaluation's stretched one.
    horizon: control steps within which success counts.
    seed: the run's, which names the range of evaluation seeds.
    prompt: what else the actor's behaviour depends on, beside `inputs` and `config` (prompt, guidance).
    inputs: {role: digest} of the policy.
    make_actor: called only if there is work to do.
    """

    acting: Acting
    horizon: int
    config: EvaluateConfig
    seed: int
    prompt: Mapping[str, object]
    inputs: Mapping[str, str]
    make_actor: Callable[[], Actor]

    def recipe(self, episodes: int) -> dict[str, Any]:
        """All that the first `episodes` outcomes depend on, beside `inputs`.

        Films are not among it. The number of rows is: the policy sees as many, and XLA adds up in another order for
        another number of rows, whose last bits a contact in the simulator then makes large.
        """
        temperature = self.config.temperature
        settings = {
            "episodes": episodes,
            "within": self.horizon,
            "seed": self.seed,
            **({} if self.config.stop else {"stop": False}),
            **({"scene": self.config.scene} if self.config.scene >= 0 else {}),
            "prompt": {**self.prompt, **({"temperature": temperature} if temperature != 1.0 else {})},
        }
        return {**self.acting.recipe(), **settings}

    def starts(self, episodes: int) -> list[int]:
        """The seeds with which the first `episodes` begin: one each, or all that of the test scene."""
        if self.config.scene < 0:
            return seeds("evaluation", self.seed, episodes).tolist()
        return [scene_seed(self.config.scene)] * episodes


def measured(acting: Acting, settings: EvaluateConfig) -> Acting:
    """Where success within the horizon of `acting` is measured: for as long as is asked for."""
    horizon = round(settings.stretch * acting.spec.horizon)
    return replace(acting, horizon=horizon, linger=0 if settings.stop else horizon)


def scene_seed(number: int) -> int:
    """The seed of a scene to which a policy may be fitted; no other purpose has it."""
    return int(seeds("test_scene", 0, number + 1)[number])


def prompt_of(method: Method) -> dict[str, object]:
    """What an actor's behaviour depends on in the method under whose prompt it acts."""
    return {"method": method} if isinstance(method, PromptedMethod) else {}


def evaluate(context: Context, trial: Trial, label: str) -> Evaluation:
    """Roll a policy out on the evaluation seeds; `label` is for the progress bar."""
    episodes = trial.config.episodes

    def build(folder: Path) -> None:
        results = _roll_out(context, trial, episodes, f"evaluate {label}")
        rows = [
            {"seed": r.seed, "success": _solved(r, trial.config.stop), "length": r.length, "return": r.reward}
            | ({} if r.by_hand is None else {"by_hand": r.by_hand})
            | _failure(r, trial.acting.env)
            for r in results
        ]
        content = {"horizon": trial.horizon, "rollouts": rows}
        with atomic_file(folder / "rollouts.json") as temporary:
            temporary.write_text(json.dumps(content, indent=1))

    made = context.artifacts.make("evaluate", VERSION, trial.recipe(episodes), trial.inputs, build)
    return read_evaluation(announce(made, label).folder)


def _roll_out(context: Context, trial: Trial, episodes: int, label: str) -> list[Rollout]:
    chosen = trial.starts(episodes)
    pool = trial.acting.pool(context.simulators)
    with bar(label, episodes, "episodes") as shown:
        return pool.rollout(trial.make_actor(), chosen, progress=shown.update, series=True)


def _failure(rollout: Rollout, env: EnvChoice) -> dict[str, str]:
    """What became of it, if it was not solved and its environment can tell."""
    if rollout.success is not False or not isinstance(env, TellsFailures):
        return {}
    return {"failure": env.failure(rollout.states)}


def _solved(rollout: Rollout, stop: bool) -> bool | None:
    """Whether it counts: None where it is not known."""
    if stop or rollout.success is None:
        return rollout.success
    return rollout.last_reward > 0


def read_evaluation(folder: Path) -> Evaluation:
    """What a finished stage found."""
    content = json.loads((folder / "rollouts.json").read_text())
    rows = content["rollouts"]
    return Evaluation(
        horizon=content["horizon"],
        seed=np.array([row["seed"] for row in rows], np.int64),
        steps=np.array([_steps(row) for row in rows], np.float64),
        returns=np.array([row["return"] for row in rows], np.float64),
        by_hand=tuple(row["by_hand"] for row in rows if "by_hand" in row),
        failed=tuple(row["failure"] for row in rows if "failure" in row),
    )


def _steps(row: Mapping[str, Any]) -> float:
    if row["success"] is None:
        return np.nan
    return row["length"] if row["success"] else np.inf
