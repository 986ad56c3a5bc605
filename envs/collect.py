"""Many demonstrations into one store, by experts in parallel processes."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from envs.engine import Job, Jobs, engine
from envs.errors import UserError, check_choice
from envs.experts import demonstrate, fits_intent
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.tasks import ROBOTS, task_spec
from envs.store import StoreWriter
from envs.types import STYLES, Episode

ATTEMPTS = 20  # seeds of a slot that are tried before the expert counts as unfit for the task
EPISODES_AHEAD = (
    2  # demonstrations in flight per worker, so that memory stays flat when writing is the slower part
)


@dataclass(frozen=True)
class CollectReport:
    """What was collected.

    episodes: written episodes by style.
    redraws: by style, demonstrations that did not end as their style means them to and were left out.
    frames: written frames; seconds: wall clock.
    """

    episodes: dict[str, int]
    redraws: dict[str, int]
    frames: int
    seconds: float

    @property
    def frames_per_s(self) -> float:
        """Written frames a second."""
        return self.frames / self.seconds


@dataclass(frozen=True)
class _World:
    task: str
    robot: str
    cameras: tuple[str, ...]
    image_size: int


def collect(
    folder: Path,
    task: str,
    robot: str = "Panda",
    *,
    styles: Mapping[str, int],
    seed: int,
    workers: int | None = None,
    cameras: Sequence[str] = ("workspace", "wrist"),
    image_size: int = 64,
    progress: Callable[[int], object] | None = None,
) -> CollectReport:
    """Write `styles[style]` demonstrations of each style into a new store, the styles evenly interleaved.

    Of N episodes, number i is the demonstration with the first of the seeds seed + i, seed + i + N,
    seed + i + 2N, … that ends as its style means it to; the others are counted and left out. The store is the
    same for any number of workers. It appears when it is whole; an interrupted collection leaves nothing that
    opens, and starts over.

    Args:
        folder: does not exist yet, or is empty.
        workers: processes, by default one for each core.
        progress: called with 1 for each episode written.

    Raises:
        UserError: unknown task, robot, style or camera, no episodes asked for, the folder is taken, no EGL,
            the expert cannot do it, a worker process died, the disk is full.
    """
    task_spec(task)
    check_choice("robot", robot, ROBOTS)
    slots = interleave(styles)
    count = min(engine().workers(0), len(slots)) if workers is None else workers
    world = _World(task, robot, tuple(cameras), image_size)
    started, frames = time.monotonic(), 0
    redraws: Counter[str] = Counter()
    with StoreWriter(folder) as writer, engine().jobs(count) as pool:
        for episode, rejected in _in_order(pool, world, slots, seed, EPISODES_AHEAD * count):
            writer.add(episode)
            frames += len(episode)
            redraws[episode.style] += rejected
            if progress is not None:
                progress(1)
    return CollectReport(dict(Counter(slots)), dict(redraws), frames, time.monotonic() - started)


def interleave(styles: Mapping[str, int]) -> list[str]:
    """The style of each episode: every style as often as asked for, spread evenly.

    Raises:
        UserError: an unknown style, a negative count, or nothing to collect.
    """
    for style, count in styles.items():
        check_choice("style", style, STYLES)
        if count < 0:
            raise UserError(f"{count} episodes of style {style!r} were asked for; give 0 or more")
    places = [
        ((k + 0.5) / count, STYLES.index(style)) for style, count in styles.items() for k in range(count)
    ]
    if not places:
        raise UserError("no episodes were asked for; give at least one style a count of 1 or more")
    return [STYLES[style] for _, style in sorted(places)]


def _in_order(
    pool: Jobs, world: _World, slots: list[str], seed: int, ahead: int
) -> Iterator[tuple[Episode, int]]:
    """The episode of every slot and how often it was redrawn, with at most `ahead` of them in flight."""
    waiting: deque[Job] = deque()
    for slot, style in enumerate(slots):
        seeds = range(seed + slot, seed + slot + ATTEMPTS * len(slots), len(slots))
        waiting.append(pool.submit(_draw, world, style, seeds))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _draw(world: _World, style: str, seeds: range) -> tuple[Episode, int]:
    """In a worker: the first demonstration among `seeds` that fits its style, and how many did not."""
    env = _environment(world)
    for rejected, seed in enumerate(seeds):
        episode = demonstrate(env, style, seed)
        if fits_intent(episode):
            return episode, rejected
    raise UserError(
        f"no {style} demonstration of {world.task} with {world.robot} ended as meant in {len(seeds)} "
        f"attempts (seeds {seeds.start} to {seeds[-1]}); choose another robot, style or seed"
    )


@lru_cache(maxsize=1)
def _environment(world: _World) -> RobosuiteEnv:
    return RobosuiteEnv(world.task, world.robot, cameras=world.cameras, image_size=world.image_size)
