"""Stage `film`: some episodes of an evaluation, drawn for people, whatever the policy sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from envs.rollout import Rollout
from envs.types import Observation
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.stages.evaluate import Trial

VERSION = 3


@dataclass(frozen=True)
class Replayed:
    """An `envs.rollout.Actor` that does again what was recorded. chunks: {what one was drawn with: float32 [H, A]}."""

    chunks: dict[int, np.ndarray]

    @classmethod
    def of(cls, rollouts: list[Rollout]) -> Replayed:
        """What these rollouts did, which were recorded."""
        found = {}
        for rollout in rollouts:
            recording = rollout.recorded
            found |= dict(zip(recording.act_seeds.tolist(), recording.chunks, strict=True))
        return cls(found)

    def act(self, observation: Observation, seeds: np.ndarray) -> np.ndarray:
        """The chunk that was drawn with each seed; zeros for rows in which no episode is under way."""
        still = np.zeros_like(next(iter(self.chunks.values())))
        return np.stack([self.chunks.get(seed, still) for seed in seeds.tolist()])


def film(context: Context, trial: Trial) -> Path | None:
    """A folder of films of the first `videos` episodes of the same evaluation; None where none are wanted.

    They are rolled out again, an artifact of their own: another number of films repeats no evaluation. Where the
    environment can draw larger pictures, what the policy did is done once more and drawn so.
    """
    count = min(trial.config.videos, trial.config.episodes)
    if not count:
        return None
    acting = trial.acting
    larger = replace(acting, task=acting.env.film_task(acting.task))
    rows = min(count, acting.env.rows(acting.workers))  # what is replayed does not depend on it
    chosen = trial.starts(count)

    def build(folder: Path) -> None:
        videos = folder / "videos"
        again = larger != acting
        with bar("film", count * (1 + again), "episodes") as shown:
            pool = acting.pool(context.simulators)
            seen = None if again else videos
            rollouts = pool.rollout(
                trial.make_actor(), chosen, record=again, video_folder=seen, progress=shown.update
            )
            if again:
                pool = replace(larger, workers=rows).pool(context.simulators)
                pool.rollout(Replayed.of(rollouts), chosen, video_folder=videos, progress=shown.update)

    made = context.artifacts.make("film", VERSION, trial.recipe(count), trial.inputs, build)
    return announce(made).folder / "videos"
