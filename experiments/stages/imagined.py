"""Stage `imagined`: a policy's own attempts in a world model as data, of which those may be kept that look solved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from envs.errors import UserError
from envs.files import atomic_file
from envs.rollout import Actor
from envs.store import StoreWriter
from experiments.choices.imagined_data import ImaginedData
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import seeds
from experiments.stages.acting import Acting
from experiments.stages.data import Data

VERSION = 1
BLOCK = 64  # rollouts that are held in memory together
STYLE = "imagined"  # of an episode that nothing but a world model has seen


def imagine_data(
    context: Context,
    data: ImaginedData,
    acting: Acting,
    make_actor: Callable[[], Actor],
    policy: str,
    number: int,
) -> Data:
    """Imagined attempts, an episode each, of the style "imagined", with decoded pictures, each held until the next moment.

    Their `success` is the verdict of the world model's classifier, not the truth, and unknown where it has none.

    Args:
        make_actor: who acts, called only if there is work to do; policy: its digest.
        number: of the round, from 0; each has starts of its own.

    Raises:
        UserError: only what looks solved is to be kept, and nothing does or the world model cannot tell.
    """

    def build(folder: Path) -> None:
        first, actor = number * data.episodes, make_actor()
        chosen = seeds("own_rollouts", data.seed, first + data.episodes)[first:].tolist()
        known = solved = kept = 0
        with StoreWriter(folder / "data") as writer, bar("imagine", data.episodes, "episodes") as shown:
            pool = acting.pool(context.simulators)
            for start in range(0, data.episodes, BLOCK):
                rollouts = pool.rollout(
                    actor,
                    chosen[start : start + BLOCK],
                    act_seed=data.seed,
                    record=True,
                    film=1,
                    progress=shown.update,
                )
                known += sum(rollout.success is not None for rollout in rollouts)
                solved += sum(bool(rollout.success) for rollout in rollouts)
                for rollout in rollouts:
                    if rollout.success or not data.solved:
                        kept += 1
                        writer.add(rollout.episode(pool.spec, acting.task.name, acting.task.robot, STYLE))
            if not kept:
                raise UserError(_nothing(data.episodes, known))
        report = {"episodes": data.episodes, "known": known, "solved": solved, "kept": kept}
        with atomic_file(folder / "report.json") as temporary:
            temporary.write_text(json.dumps({**report, "stride": pool.spec.stride}, indent=1))

    recipe = {
        **acting.recipe(),
        "episodes": data.episodes,
        "solved": data.solved,
        "temperature": data.temperature,
        "seed": data.seed,
        "round": number,
    }
    made = announce(context.artifacts.make("imagined", VERSION, recipe, {"policy": policy}, build))
    report = json.loads((made.folder / "report.json").read_text())
    return Data(made.folder / "data", made.digest, report, stride=report["stride"])


def _nothing(episodes: int, known: int) -> str:
    if not known:
        return (
            "this world model has no classifier of success, so that nothing can be kept as solved; keep all of it: "
            "data.solved=false"
        )
    return (
        f"none of {episodes} imagined attempts looks solved; imagine more (data.episodes=), begin nearer the end "
        "(data.world.starts=all), or keep all of it: data.solved=false"
    )
