"""Stages `branches`, `branch_gains`: what may be done next from one state, done in the simulator, and judged.

Dimension letters: G groups, M members of each, R = G · M branches, L control steps, F moments of a film (the first, and one
after every `every` control steps; a branch that ends early repeats its last), D = F − 1, A action, P proprioception, S
privileged state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from envs.contract import EnvSpec
from envs.engine import engine
from envs.experts.branches import Branching, BranchPoint, draw_branch
from envs.experts.phases import PHASES
from envs.files import load_arrays, save_arrays
from envs.robosuite.env import RobosuiteEnv
from envs.rollout import Actor, Film, Rollout
from envs.types import Episode
from experiments.choices.branches import BranchChoice
from experiments.choices.critics import CriticSource
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import Purpose, seeds
from experiments.lab.simulators import worker_count
from experiments.settings.config import TaskConfig
from experiments.stages.acting import Acting

VERSION = 1
BRANCHES, IMAGINED, GAINS = "branches.safetensors", "imagined.safetensors", "gains.safetensors"


@dataclass(frozen=True)
class BranchPlan:
    """Which branches.

    groups: G; size: M; every: control steps between the moments of their films; temperature: of the policy that draws
    chunks; purpose: what the seeds are for.
    """

    groups: int
    size: int
    every: int
    temperature: float
    seed: int
    purpose: Purpose = "branches"


def roll_out_branches(
    context: Context,
    env: BranchChoice,
    acting: Acting,
    plan: BranchPlan,
    make_actor: Callable[[], Actor],
    policy: str,
    oracle: CriticSource,
) -> Artifact:
    """Branches in the simulator: pictures, what was done, and true progress, of every group from one recorded state.

    Args:
        acting: where, in `env`; policy: digest of who acts, made by `make_actor` if there is work to do.
        oracle: who tells true progress from the simulator's state.
    """

    def build(folder: Path) -> None:
        chosen = seeds(plan.purpose, plan.seed, plan.groups).tolist()
        points = _points(acting.task, Branching(env.phases, env.styles), chosen, acting.workers)
        with bar("branch", plan.groups * plan.size, "branches") as shown:
            rollouts = acting.pool(context.simulators).rollout(
                make_actor(),
                np.repeat(chosen, plan.size).tolist(),
                act_seed=plan.seed,
                record=True,
                film=plan.every,
                progress=shown.update,
            )
        length = acting.spec.horizon
        films, moments = [rollout.filmed for rollout in rollouts], 1 - -length // plan.every
        arrays = {
            **filmed(films, moments),
            "action": np.stack([held(rollout.recorded.actions(), length) for rollout in rollouts]),
            "reward": np.stack([held(_earned(rollout), moments) for rollout in rollouts]),
            "first": np.stack([point.first for point in points]),
            "phase": np.array([PHASES.index(point.phase) for point in points], np.int64),
            "seed": np.array(chosen, np.int64),
        }
        arrays["progress"] = progress_of(arrays, oracle, acting)
        save_arrays(folder / BRANCHES, arrays)

    recipe = {**acting.recipe(), "plan": plan}
    inputs = {"policy": policy, "oracle": oracle.digest}
    return announce(context.artifacts.make("branches", VERSION, recipe, inputs, build))


def judge_branches(
    context: Context, critic: CriticSource, seen: Artifact, spec: EnvSpec, every: int, task: TaskConfig
) -> np.ndarray:
    """A critic's gains over the first 1 … D moments of what was seen: float32 [R, D].

    Each number of moments is a video of its own, as `reward=critic reward.of=gain` sees it: a critic may read ahead.

    Args:
        seen: of `roll_out_branches` or `imagine_branches`; spec, every: what its films show.
    """

    def build(folder: Path) -> None:
        file = next(path for name in (BRANCHES, IMAGINED) if (path := seen.folder / name).is_file())
        arrays = load_arrays(file)[0]
        counts, most = arrays["count"].tolist(), arrays["proprio"].shape[1]
        asked = [(row, count) for row, last in enumerate(counts) for count in range(2, last + 1)]
        shown = (_shown(arrays, row, count, spec, every, task) for row, count in asked)
        gains = np.full((len(counts), most - 1), np.nan, np.float32)
        with bar("judge branches", len(asked), "videos") as progress:
            for (row, count), values in zip(asked, critic.load().label(shown), strict=True):
                gains[row, count - 2 :] = values[-1] - values[0]  # held where the branch has ended
                progress.update(1)
        save_arrays(folder / GAINS, {"gain": gains})

    recipe = {
        "task": task,
        "every": every,
        "control_rate": spec.control_rate,
        "instruction": spec.instruction,
    }
    inputs = {"seen": seen.digest, "critic": critic.digest}
    made = announce(context.artifacts.make("branch_gains", VERSION, recipe, inputs, build))
    return load_arrays(made.folder / GAINS)[0]["gain"]


def true_gains(real: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """Gains of true progress over the first 1 … D moments, float32 [R, D]; and the phase of each group, int64 [G]."""
    arrays = load_arrays(real.folder / BRANCHES)[0]
    return gains_of(arrays["progress"]), arrays["phase"]


def gains_of(progress: np.ndarray) -> np.ndarray:
    """Progress [R, F] -> its gains since the first moment [R, D]."""
    return progress[:, 1:] - progress[:, :1]


def progress_of(arrays: Mapping[str, np.ndarray], oracle: CriticSource, acting: Acting) -> np.ndarray:
    """True progress of branches as an oracle tells it from the simulator's state: float32 [R, F].

    It reads the first state of the episode that a branch belongs to before it: it asks how high things were lifted.
    """
    size = len(arrays["reward"]) // len(arrays["first"])
    known = (
        _known(arrays, row, arrays["first"][row // size], acting) for row in range(len(arrays["reward"]))
    )
    return np.stack([values[1:] for values in oracle.load().label(known)]).astype(np.float32)


def _points(task: TaskConfig, branching: Branching, chosen: Sequence[int], workers: int) -> list[BranchPoint]:
    with engine().jobs(worker_count(workers)) as pool:
        begun = [pool.submit(_point, task.name, task.robot, branching, seed) for seed in chosen]
        return [job.result() for job in begun]


def _point(task: str, robot: str, branching: Branching, seed: int) -> BranchPoint:
    """In a worker."""
    return draw_branch(_environment(task, robot), seed, branching)


@lru_cache(maxsize=1)
def _environment(task: str, robot: str) -> RobosuiteEnv:
    return RobosuiteEnv(task, robot, cameras=())


def held(values: np.ndarray, length: int) -> np.ndarray:
    """Values [N, …] with the last repeated: [length, …]."""
    return values[np.minimum(np.arange(length), len(values) - 1)]


def filmed(films: Sequence[Film], moments: int) -> dict[str, np.ndarray]:
    """count int64 [R]: the moments that a film has; proprio, environment_state and images.<camera> [R, F, …]."""
    arrays = {"count": np.array([len(film) for film in films], np.int64)}
    arrays["proprio"] = np.stack([held(film.proprio, moments) for film in films])
    arrays["environment_state"] = np.stack([held(film.environment_state, moments) for film in films])
    for camera in films[0].images:
        arrays[f"images.{camera}"] = np.stack([held(film.images[camera], moments) for film in films])
    return arrays


def _earned(rollout: Rollout) -> np.ndarray:
    """What the step before each moment of the film earned: float32 [F], 0 at the first."""
    return np.concatenate([[0.0], rollout.recorded.rewards]).astype(np.float32)[rollout.filmed.step]


def _known(arrays: Mapping[str, np.ndarray], row: int, first: np.ndarray, acting: Acting) -> Episode:
    proprio = arrays["proprio"][row]
    return Episode(
        images={},
        proprio=np.concatenate([proprio[:1], proprio]),
        actions=np.zeros((len(proprio) + 1, 0), np.float32),
        rewards=np.concatenate([[0.0], arrays["reward"][row]]).astype(np.float32),
        environment_state=np.concatenate([first[None], arrays["environment_state"][row]]),
        success=None,
        task=acting.task.name,
        instruction=acting.spec.instruction,
        robot=acting.task.robot,
        seed=row,
        fps=acting.spec.control_rate,
    )


def _shown(
    arrays: Mapping[str, np.ndarray], row: int, count: int, spec: EnvSpec, every: int, task: TaskConfig
) -> Episode:
    """The first moments of a branch as a video."""
    return Episode(
        images={camera: arrays[f"images.{camera}"][row, :count] for camera in spec.cameras},
        proprio=arrays["proprio"][row, :count],
        actions=np.zeros((count, 0), np.float32),
        rewards=np.zeros(count, np.float32),
        environment_state=arrays["environment_state"][row, :count],
        success=None,
        task=task.name,
        instruction=spec.instruction,
        robot=task.robot,
        seed=row,
        fps=spec.control_rate / every,
    )
