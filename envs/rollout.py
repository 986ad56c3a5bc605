"""A policy acting in an environment: batched over its rows, reproducible from the seeds alone."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from envs.contract import ChunkEnvs, EnvSpec, Start
from envs.errors import UserError
from envs.recording import EpisodeLog, Film, Recording, Rollout, row_film
from envs.types import Observation

__all__ = ["Actor", "Film", "Recording", "Rollout", "RolloutPool"]


@runtime_checkable
class Actor(Protocol):
    """What acts: a policy, or anything else with this method."""

    def act(self, observation: Observation, seeds: np.ndarray) -> np.ndarray:
        """Action chunks float32 [B, H, A] for B observations, row b drawn with seeds[b], int64 below 2³¹."""
        ...


class RolloutPool:
    """Episodes of any policy in the rows of an environment, which it owns. A context manager."""

    def __init__(self, envs: ChunkEnvs) -> None:
        self.envs = envs

    @property
    def spec(self) -> EnvSpec:
        """What the environment shows and takes."""
        return self.envs.env_spec

    def __enter__(self) -> RolloutPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, **options: Any) -> None:
        """Free the environment; a closed pool may be closed again."""
        if not self.envs.closed:
            self.envs.close(**options)

    def rollout(
        self,
        policy: Actor,
        starts: Sequence[int | Start],
        *,
        instruction: str | None = None,
        act_seed: int = 0,
        record: bool = False,
        film: int = 0,
        video_folder: Path | None = None,
        videos: int | None = None,
        progress: Callable[[int], object] | None = None,
        series: bool = False,
    ) -> list[Rollout]:
        """One episode for each start, in their order.

        The policy always sees one row for each of the environment's, however many episodes are left. What it draws at
        decision d of an episode depends on the episode's seed, on how many earlier entries of `starts` have that seed,
        on d and on `act_seed`. So an entry's result does not depend on its neighbours, and repeats of a start share only
        their first state.

        Args:
            policy: see `Actor`; H >= the steps of a chunk that the environment executes.
            starts: of the episodes: seeds of 0 or more, or `Start`s.
            instruction: what the policy is told where a start says nothing; default the environment's own.
            record: keep what the policy saw and did.
            film: with k > 0, recordings hold a `Film` of every k-th control step and the last.
            video_folder: write the first `videos` episodes (default all), every control step, as
                `<place in starts>_seed<seed>_<outcome>.mp4`.
            progress: called with 1 for each episode that has ended.
            series: an environment that can bring its scene back itself does so between the episodes of a row, instead
                of starting each from its seed. An entry's result then does depend on those before it.

        Raises:
            UserError: the policy's actions have the wrong shape or are not finite, a seed is negative, a start has a
                picture and the environment begins from seeds alone, there is no camera to film with, or a process of
                the environment died.
        """
        jobs = _jobs(starts, self.spec)
        filmed = 0 if video_folder is None else len(jobs) if videos is None else videos
        film = film if record else 0
        if (filmed or film) and not self.spec.cameras:
            raise UserError(
                "the environment has no camera to film with; ask for no films (evaluate.videos=0)"
            )
        text = self.spec.instruction if instruction is None else instruction
        batch = _Batch(self.envs, _Settings(policy, text, act_seed, record, series))
        waiting = deque(
            EpisodeLog(number, start, repeat, 1 if number < filmed else film)
            for number, (start, repeat) in enumerate(jobs)
        )
        results: dict[int, Rollout] = {}
        try:
            while waiting or batch.active:
                batch.fill(waiting)
                for log in batch.step():
                    results[log.number] = log.rollout(film)
                    if video_folder is not None and log.number < filmed:
                        log.save_video(video_folder, self.spec.control_rate)
                    if progress is not None:
                        progress(1)
        except (EOFError, ConnectionError) as error:
            self.close(terminate=True)
            raise UserError("a simulator process died; if memory ran out, use fewer workers") from error
        return [results[number] for number in range(len(jobs))]


def draw_seed(act_seed: int, seed: int, repeat: int, decision: int) -> int:
    """What a policy draws with at one decision: 0 .. 2³¹ - 1, as if independent for any other arguments."""
    return int(np.random.SeedSequence((act_seed, seed, repeat, decision)).generate_state(1)[0] >> 1)


def _jobs(starts: Sequence[int | Start], spec: EnvSpec) -> list[tuple[Start, int]]:
    """(start, how often its seed came before) for each entry."""
    counts: Counter[int] = Counter()
    jobs = []
    for entry in starts:
        start = entry if isinstance(entry, Start) else Start(int(entry))
        if start.seed < 0:
            raise UserError(f"the seed {start.seed} is negative; give seeds of 0 or more")
        if start.images and not spec.any_start:
            raise UserError(
                "this environment begins from seeds, not from pictures; a world model can (env=imagination)"
            )
        jobs.append((start, counts[start.seed]))
        counts[start.seed] += 1
    return jobs


@dataclass(frozen=True)
class _Settings:
    """What stays the same during a call of `RolloutPool.rollout`."""

    policy: Actor
    instruction: str
    act_seed: int
    record: bool
    series: bool


class _Batch:
    """The episodes that the rows are in, one each."""

    def __init__(self, envs: ChunkEnvs, settings: _Settings) -> None:
        self._envs, self._settings = envs, settings
        self._logs: list[EpisodeLog | None] = [None] * envs.num_envs
        self._observation: dict[str, Any] = {}
        self._used = np.zeros(envs.num_envs, bool)  # rows that have had an episode

    @property
    def active(self) -> bool:
        """Whether any episode is under way."""
        return any(self._logs)

    def fill(self, waiting: deque[EpisodeLog]) -> None:
        """Start waiting episodes in the rows that are free."""
        started = np.zeros(len(self._logs), bool)
        for row, log in enumerate(self._logs):
            if log is None and waiting:
                self._logs[row] = waiting.popleft()
                started[row] = True
        if not started.any():
            return
        options: dict[str, Any] = {"reset_mask": started}
        options["film"] = np.array([log.film_every if log else 0 for log in self._logs])
        if self._envs.env_spec.any_start:
            options["starts"] = [log.start if log else Start(0) for log in self._logs]
        if self._settings.series:
            options["follows"] = self._used & started
        seeds = [log.start.seed if log else 0 for log in self._logs]
        self._observation, info = self._envs.reset(seed=seeds, options=options)
        self._used |= started
        for row in np.flatnonzero(started).tolist():
            self._add_film(row, info)
            log = self._logs[row]
            if log and "by_hand" in info and info["_by_hand"][row]:
                log.by_hand = bool(info["by_hand"][row])

    def step(self) -> list[EpisodeLog]:
        """One decision in every episode; those that ended are returned."""
        settings, before = self._settings, self._observation
        observation = self._seen()
        seeds = np.array([self._draw_seed(log) for log in self._logs], np.int64)
        chunks = settings.policy.act(observation, seeds)
        self._check(chunks)
        actions = np.array(chunks[:, : self._envs.execute], np.float32)
        actions[[log is None for log in self._logs]] = 0.0
        self._observation, _, terminated, truncated, info = self._envs.step(actions)
        ended = []
        for row, log in enumerate(self._logs):
            if log is None:
                continue
            kept = None
            if settings.record:
                kept = {
                    "observation": observation[row : row + 1],
                    "chunk": chunks[row],
                    "act_seed": seeds[row],
                }
            rewards = info["rewards"][row, : info["executed"][row]]
            log.add_decision(before["environment_state"][row], kept, rewards, _success(row, info))
            self._add_film(row, info)
            if terminated[row] or truncated[row]:
                log.end(self._seen()[row : row + 1] if settings.record else None)
                ended.append(log)
                self._logs[row] = None
        return ended

    def _seen(self) -> Observation:
        default = self._settings.instruction
        told = [log.start.instruction if log else None for log in self._logs]
        instruction = tuple(default if text is None else text for text in told)
        now = self._observation
        return Observation(now["images"], now["proprio"], instruction, now.get("seen", {}))

    def _draw_seed(self, log: EpisodeLog | None) -> int:
        if log is None:
            return 0
        return draw_seed(self._settings.act_seed, log.start.seed, log.repeat, log.decisions)

    def _check(self, chunks: np.ndarray) -> None:
        name = type(self._settings.policy).__name__
        rows, steps, size = len(self._logs), self._envs.execute, self._envs.env_spec.action_dim
        shape = np.shape(chunks)
        if len(shape) != 3 or shape[0] != rows or shape[1] < steps or shape[2] != size:
            raise UserError(
                f"{name}.act gave actions of shape {shape}; give [{rows}, H, {size}] with H >= {steps}"
            )
        running = [row for row, log in enumerate(self._logs) if log]
        if not np.isfinite(chunks[running]).all():
            raise UserError(f"{name}.act gave NaN or infinite actions; check the policy's training")

    def _add_film(self, row: int, info: dict[str, Any]) -> None:
        log, film = self._logs[row], info.get("film")
        if log is None or film is None or not info["_film"][row]:
            return
        log.add_film(row_film(film, row, self._envs.env_spec.cameras))


def _success(row: int, info: dict[str, Any]) -> bool | None:
    """Whether the task is solved; None where the environment does not say."""
    return bool(info["success"][row]) if "success" in info and info["_success"][row] else None
