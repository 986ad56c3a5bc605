"""Stage `rollouts`: a policy's own attempts as data, beside other data or alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file
from envs.rollout import Actor
from envs.store import StoreWriter, merge_stores
from envs.transplant import Transplanted, transplanted
from experiments.lab.artifacts import SCRATCH, Artifact, file_digest
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import Purpose, seeds
from experiments.settings.config import RolloutData
from experiments.stages.acting import Acting
from experiments.stages.data import Data, user_data
from policy_extraction.types import STATE_FILE

VERSION = 1
BLOCK = 32  # rollouts that are held in memory together
RESULTS = "results.json"


def trained_policy(path: Path) -> Path:
    """The folder that `Policy.save` wrote: `path` itself, its `policy`, or what a run's folder names.

    Raises:
        UserError: there is none.
    """
    if (path / RESULTS).is_file():
        path = Path(json.loads((path / RESULTS).read_text())["policy"])
    for folder in (path, path / "policy"):
        if (folder / STATE_FILE).is_file():
            return folder
    raise UserError(
        f"no trained policy in {path}; give data.policy the folder of a run (outputs/runs/…) or of its policy"
    )


def folder_of(trained: Artifact | None, named: str) -> Path | None:
    """The folder of a policy: of one just trained, else of the one that a setting names, if it does.

    Raises:
        UserError: there is no policy in what the setting names.
    """
    if trained is not None:
        return trained.folder / "policy"
    return trained_policy(Path(named)) if named else None


def roll_out_data(
    context: Context,
    data: RolloutData,
    acting: Acting,
    make_actor: Callable[[], Actor],
    policy: str,
    purpose: Purpose = "own_rollouts",
) -> Data:
    """Rollouts of a policy, one episode each, after the episodes of the stores `data.also`; or of `data.actions`.

    Args:
        make_actor: who acts, called only if there is work to do; policy: its digest.
        purpose: what the seeds are for.

    Raises:
        UserError: the environment has no camera, or the stores of `data.also` differ from what it shows; those of
            `data.actions` have other actions or fewer episodes.
    """
    also = [user_data(Path(path)) for path in data.also]
    others = [user_data(Path(path)) for path in data.actions]

    def build(folder: Path) -> None:
        own = folder / SCRATCH / "own" if also else folder / "data"
        chosen = seeds(purpose, data.seed, data.episodes).tolist()
        actor = _of_others(others, data, acting, chosen) if others else make_actor()
        known = solved = 0
        with StoreWriter(own) as writer, bar("roll out", data.episodes, "episodes") as shown:
            pool = acting.pool(context.simulators)
            for first in range(0, data.episodes, BLOCK):
                starts = chosen[first : first + BLOCK]
                rollouts = pool.rollout(
                    actor, starts, act_seed=data.seed, record=True, film=1, progress=shown.update
                )
                for rollout in rollouts:
                    writer.add(rollout.episode(pool.spec, acting.task.name, acting.task.robot))
                    known += rollout.success is not None
                    solved += bool(rollout.success)
        if also:
            merge_stores([*(part.folder for part in also), own], folder / "data")
        with atomic_file(folder / "report.json") as temporary:
            report = {"episodes": data.episodes, "known": known, "solved": solved}
            temporary.write_text(json.dumps(report, indent=1))

    recipe = {
        **acting.recipe(),
        "episodes": data.episodes,
        "temperature": data.temperature,
        "seed": data.seed,
        "purpose": purpose,
    }
    inputs = {f"actions {number}": part.digest for number, part in enumerate(others)} or {"policy": policy}
    inputs |= {f"also {number}": part.digest for number, part in enumerate(also)}
    made = announce(context.artifacts.make("rollouts", VERSION, recipe, inputs, build))
    report = json.loads((made.folder / "report.json").read_text())
    return Data(made.folder / "data", made.digest, report, seconds=made.seconds)


def _of_others(others: Sequence[Data], data: RolloutData, acting: Acting, starts: list[int]) -> Transplanted:
    """Who does what was done in other episodes, drawn by `data.seed`, the solved ones first.

    Raises:
        UserError: their actions are of another width, they are fewer, or begin where one of `starts` does.
    """
    stores = [part.open() for part in others]
    rows = [(store, index) for store in stores for index in range(len(store))]
    drawn = [rows[place] for place in np.random.default_rng(data.seed).permutation(len(rows)).tolist()]
    drawn.sort(key=lambda row: row[0].episode_info(row[1]).success is not True)
    episodes = [store.episode(index, cameras=()) for store, index in drawn[: len(starts)]]
    width = acting.spec.action_dim
    for episode in episodes:
        if episode.actions.shape[1] != width:
            raise UserError(
                f"data.actions: an episode has actions of {episode.actions.shape[1]} numbers, {acting.task.name} takes "
                f"{width}; give data sets of this robot"
            )
    if {episode.seed for episode in episodes} & set(starts):
        raise UserError("data.actions has episodes of these very scenes; give another data.seed")
    steps = acting.spec.horizon + acting.linger
    return transplanted([episode.actions for episode in episodes], starts, data.seed, acting.execute, steps)


def policy_digest(folder: Path) -> str:
    """Stands for a trained policy."""
    return file_digest(folder / STATE_FILE)
