"""A policy acting in a simulator: batched over environments, reproducible from the seeds alone."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium.vector import AsyncVectorEnv

from envs.errors import UserError
from envs.recording import EpisodeLog, Recording, Rollout
from envs.robosuite.scene import WORKSPACE
from envs.robosuite.tasks import task_spec
from envs.robosuite.vector import ACTION_SIZE, make_vector_env
from envs.types import Observation

__all__ = ["Actor", "Recording", "Rollout", "RolloutPool", "rollout"]


@runtime_checkable
class Actor(Protocol):
    """What acts: a policy, or anything else with this method."""

    def act(self, observation: Observation, seeds: np.ndarray) -> np.ndarray:
        """Action chunks float32 [B, H, A] for B observations, row b drawn with seeds[b], int64 below 2³¹."""
        ...


class RolloutPool:
    """Environments of one task, kept open for many calls of `rollout`. A context manager.

    Args:
        task, robot, cameras, image_size: see `envs.robosuite.env.RobosuiteEnv`.
        workers: processes, which is also the number of rows that the policy sees; default one a CPU core.
        execute: how many actions of a chunk are executed before the policy looks again.
        horizon: control steps after which an episode has failed; default the task's own.
        frame_every: with k > 0, recordings hold a picture of every k-th control step.
    """

    def __init__(
        self,
        task: str = "stack",
        robot: str = "Panda",
        workers: int | None = None,
        execute: int = 8,
        horizon: int | None = None,
        cameras: Sequence[str] = (WORKSPACE, "wrist"),
        image_size: int = 64,
        frame_every: int = 0,
    ) -> None:
        self.task, self.robot, self.execute, self.frame_every = task, robot, execute, frame_every
        self.horizon = horizon or task_spec(task).horizon
        self._vector = make_vector_env(
            task, robot, workers, execute, frame_every, cameras, image_size, self.horizon
        )
        self.workers = self._vector.num_envs

    def __enter__(self) -> RolloutPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; a closed pool may be closed again."""
        if not self._vector.closed:
            self._vector.close(terminate=True)

    def rollout(
        self,
        policy: Actor,
        seeds: Sequence[int],
        *,
        instruction: str | None = None,
        act_seed: int = 0,
        record: bool = False,
        video_folder: Path | None = None,
        videos: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> list[Rollout]:
        """One episode for each seed, in their order.

        The policy always sees `workers` rows, however many episodes are left. What it draws at decision d of
        an episode depends on the episode's seed, on how many earlier entries of `seeds` equal it, on d and on
        `act_seed`. So an entry's result does not depend on its neighbours, and repeats of a seed share only
        their first state.

        Args:
            policy: see `Actor`; H >= execute.
            seeds: of the episodes, 0 or more each.
            instruction: what the policy is told; default the task's canonical instruction.
            record: keep what the policy saw and did.
            video_folder: write the first `videos` episodes (default all), every control step, as
                `<place in seeds>_seed<seed>_<outcome>.mp4`.
            progress: called with 1 for each episode that has ended.

        Raises:
            UserError: the policy's actions have the wrong shape or are not finite, a seed is negative, or a
                simulator process died.
        """
        jobs = _jobs([int(seed) for seed in seeds])
        filmed = 0 if video_folder is None else len(jobs) if videos is None else videos
        text = task_spec(self.task).instructions[0] if instruction is None else instruction
        frame_every = self.frame_every if record else 0
        batch = _Batch(self._vector, _Settings(policy, text, self.execute, act_seed, record, frame_every))
        waiting = deque(EpisodeLog(n, seed, repeat, n < filmed) for n, (seed, repeat) in enumerate(jobs))
        results: dict[int, Rollout] = {}
        try:
            while waiting or batch.active:
                batch.fill(waiting)
                for log in batch.step():
                    results[log.number] = log.rollout(frame_every)
                    if video_folder is not None and log.video:
                        log.save_video(video_folder, float(self._vector.metadata["render_fps"]))
                    if progress is not None:
                        progress(1)
        except (EOFError, ConnectionError) as error:
            self.close()
            raise UserError("a simulator process died; if memory ran out, use fewer workers") from error
        return [results[number] for number in range(len(jobs))]


def rollout(
    policy: Actor,
    task: str,
    robot: str,
    seeds: Sequence[int],
    *,
    execute: int = 8,
    horizon: int | None = None,
    workers: int | None = None,
    instruction: str | None = None,
    record: bool = False,
    video_folder: Path | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[Rollout]:
    """One episode for each seed in environments opened for this call; see `RolloutPool` to keep them."""
    with RolloutPool(task, robot, workers, execute, horizon) as pool:
        return pool.rollout(
            policy,
            seeds,
            instruction=instruction,
            record=record,
            video_folder=video_folder,
            progress=progress,
        )


def draw_seed(act_seed: int, seed: int, repeat: int, decision: int) -> int:
    """What a policy draws with at one decision: 0 .. 2³¹ - 1, as if independent for any other arguments."""
    return int(np.random.SeedSequence((act_seed, seed, repeat, decision)).generate_state(1)[0] >> 1)


def _jobs(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """(seed, how often it came before) for each entry."""
    counts: Counter[int] = Counter()
    jobs = []
    for seed in seeds:
        if seed < 0:
            raise UserError(f"the seed {seed} is negative; give seeds of 0 or more")
        jobs.append((seed, counts[seed]))
        counts[seed] += 1
    return jobs


@dataclass(frozen=True)
class _Settings:
    """What stays the same during a call of `RolloutPool.rollout`."""

    policy: Actor
    instruction: str
    execute: int
    act_seed: int
    record: bool
    frame_every: int


class _Batch:
    """The episodes that the environments are in, one each."""

    def __init__(self, vector: AsyncVectorEnv, settings: _Settings) -> None:
        self._vector, self._settings = vector, settings
        self._logs: list[EpisodeLog | None] = [None] * vector.num_envs
        self._observation: dict[str, Any] | None = None

    @property
    def active(self) -> bool:
        """Whether any episode is under way."""
        return any(self._logs)

    def fill(self, waiting: deque[EpisodeLog]) -> None:
        """Start waiting episodes in the environments that are free."""
        started: dict[int, list[int]] = {}
        for row, log in enumerate(self._logs):
            if log is None and waiting:
                self._logs[row] = log = waiting.popleft()
                started.setdefault(1 if log.video else self._settings.frame_every, []).append(row)
        if self._observation is None:
            idle = [row for row, log in enumerate(self._logs) if log is None]
            if idle:
                self._reset(idle, {"idle": True, "frame_every": 0})
        for frame_every, rows in started.items():
            self._reset(rows, {"frame_every": frame_every})

    def step(self) -> list[EpisodeLog]:
        """One decision in every episode; those that ended are returned."""
        assert self._observation is not None
        settings, before = self._settings, self._observation
        observation = self._seen()
        seeds = np.array([self._draw_seed(log) for log in self._logs], np.int64)
        chunks = settings.policy.act(observation, seeds)
        self._check(chunks)
        actions = np.zeros((len(self._logs), settings.execute, ACTION_SIZE), np.float32)
        for row, log in enumerate(self._logs):
            actions[row] = chunks[row, : settings.execute] if log else 0.0
        self._observation, _, terminated, truncated, info = self._vector.step(actions)
        ended = []
        for row, log in enumerate(self._logs):
            if log is None:
                continue
            kept = None
            if settings.record:
                kept = {
                    "observation": observation[row : row + 1],
                    "environment_state": before["environment_state"][row],
                    "chunk": chunks[row],
                    "act_seed": seeds[row],
                }
            log.add_decision(kept, int(info["executed"][row]), bool(info["success"][row]))
            self._add_frames(log, row, info)
            if terminated[row] or truncated[row]:
                log.end(self._seen()[row : row + 1] if settings.record else None)
                ended.append(log)
                self._logs[row] = None
        return ended

    def _reset(self, rows: list[int], options: dict[str, Any]) -> None:
        mask = np.zeros(self._vector.num_envs, bool)
        mask[rows] = True
        seeds: list[int | None] = [log.seed if log else 0 for log in self._logs]
        self._observation, info = self._vector.reset(seed=seeds, options={**options, "reset_mask": mask})
        for row in rows:
            log = self._logs[row]
            if log is not None:
                self._add_frames(log, row, info)

    def _seen(self) -> Observation:
        assert self._observation is not None
        instruction = (self._settings.instruction,) * len(self._logs)
        return Observation(self._observation["images"], self._observation["proprio"], instruction)

    def _draw_seed(self, log: EpisodeLog | None) -> int:
        return draw_seed(self._settings.act_seed, log.seed, log.repeat, log.decisions) if log else 0

    def _check(self, chunks: np.ndarray) -> None:
        name = type(self._settings.policy).__name__
        rows, steps = len(self._logs), self._settings.execute
        shape = np.shape(chunks)
        if len(shape) != 3 or shape[0] != rows or shape[1] < steps or shape[2] != ACTION_SIZE:
            raise UserError(
                f"{name}.act gave actions of shape {shape}; give [{rows}, H, {ACTION_SIZE}] with H >= {steps}"
            )
        running = [row for row, log in enumerate(self._logs) if log]
        if not np.isfinite(chunks[running]).all():
            raise UserError(f"{name}.act gave NaN or infinite actions; check the policy's training")

    @staticmethod
    def _add_frames(log: EpisodeLog, row: int, info: dict[str, Any]) -> None:
        if "frames" in info and info["_frames"][row]:
            log.add_frames(info["frames"][row, : info["frame_count"][row]])
