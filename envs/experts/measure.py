"""How reliable the experts are: `python -m envs.experts.measure --task stack can --episodes 100`.

Ends with one line of JSON: {"rows": [{"task", "robot", "style", "success", "frames", "episodes"}]}, where
success is the fraction of demonstrations that end as their style means them to and frames their mean length.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import lru_cache

import numpy as np
from tqdm import tqdm

from envs.engine import engine
from envs.errors import UserError, check_choice
from envs.experts.demonstrate import demonstrate, fits_intent
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.tasks import ROBOTS, TASKS
from envs.types import STYLES


def main(arguments: list[str] | None = None) -> None:
    """Measure, show a table, print the line of JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m envs.experts.measure", description="How reliable the experts are."
    )
    parser.add_argument("--task", nargs="+", default=list(TASKS), help="default: all")
    parser.add_argument("--robot", nargs="+", default=["Panda"])
    parser.add_argument("--style", nargs="+", default=["clean"])
    parser.add_argument("--episodes", type=int, default=100, help="of each task, robot and style")
    parser.add_argument("--seed", type=int, default=0, help="the first of consecutive seeds")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    try:
        rows = measure(
            options.task, options.robot, options.style, options.episodes, options.seed, options.workers
        )
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(json.dumps({"rows": rows}))


def measure(
    tasks: list[str], robots: list[str], styles: list[str], episodes: int, seed: int, workers: int
) -> list[dict[str, object]]:
    """The rows of the table, printed as they are found.

    Raises:
        UserError: an unknown task, robot or style; no episodes; no workers.
    """
    for kind, names, choices in (
        ("task", tasks, TASKS),
        ("robot", robots, ROBOTS),
        ("style", styles, STYLES),
    ):
        for name in names:
            check_choice(kind, name, choices)
    if episodes < 1:
        raise UserError(f"episodes={episodes}; give at least 1")
    rows = []
    with engine().jobs(workers) as pool:
        for task, robot, style in ((t, r, s) for r in robots for t in tasks for s in styles):
            begun = [pool.submit(_outcome, task, robot, style, one) for one in range(seed, seed + episodes)]
            outcomes = (job.result() for job in begun)
            name = f"{task} {robot} {style}"
            success, frames = np.array(list(tqdm(outcomes, name, episodes, leave=False, disable=None))).mean(
                axis=0
            )
            rows.append(
                {"task": task, "robot": robot, "style": style, "success": success, "frames": frames}
                | {"episodes": episodes}
            )
            print(f"{name:32} {success:6.1%} {frames:6.0f} frames", flush=True)
    return rows


def _outcome(task: str, robot: str, style: str, seed: int) -> tuple[bool, int]:
    """In a worker: whether the demonstration ends as meant, and its length."""
    episode = demonstrate(_environment(task, robot), style, seed)
    return fits_intent(episode), len(episode)


@lru_cache(maxsize=1)
def _environment(task: str, robot: str) -> RobosuiteEnv:
    return RobosuiteEnv(task, robot, cameras=())


if __name__ == "__main__":
    main()
