"""Stage `rollouts`: a policy's own attempts as data, beside other data or alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from envs.errors import UserError
from envs.files import atomic_file
from envs.rollout import Actor
from envs.store import StoreWriter, merge_stores
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
    """Rollouts of a policy, one episode each, after the episodes of the stores `data.also`.

    Args:
        make_actor: who acts, called only if there is work to do; policy: its digest.
        purpose: what the seeds are for.

    Raises:
        UserError: the environment has no camera, or the stores of `data.also` differ from what it shows.
    """
    also = [user_data(Path(path)) for path in data.also]

    def build(folder: Path) -> None:
        own = folder / SCRATCH / "own" if also else folder / "data"
        chosen, actor = seeds(purpose, data.seed, data.episodes).tolist(), make_actor()
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
    inputs = {"policy": policy} | {f"also {number}": part.digest for number, part in enumerate(also)}
    made = announce(context.artifacts.make("rollouts", VERSION, recipe, inputs, build))
    return Data(made.folder / "data", made.digest, json.loads((made.folder / "report.json").read_text()))


def policy_digest(folder: Path) -> str:
    """Stands for a trained policy."""
    return file_digest(folder / STATE_FILE)
