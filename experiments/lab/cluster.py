"""Simulators and jobs on a Ray cluster. Only this file knows Ray; it is imported where `cluster=ray` was asked for.

A worker or a node that dies takes nothing along: a job is done again elsewhere, and a world is brought back to where it was,
by the same seed and the same actions. Results are the same, to the byte, as without Ray.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import ray
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from ray.exceptions import RayActorError, RayError, RayTaskError

from envs.chunks import ChunkEnv, World, require_some
from envs.contract import ChunkEnvs, EnvSpec
from envs.engine import Jobs
from envs.errors import UserError

PATIENCE = 10.0  # seconds that somebody may take to answer at an address
TRIES = 10  # of one job or world, whose workers died one after another
PASSED_ON = ("MUJOCO_GL", "JAX_PLATFORMS", "TZ")  # of the environment, to all workers
DIED = "workers of the cluster died {} times over one {}; if memory ran out, use fewer workers"


class RayEngine:
    """An `Engine`: a Ray cluster. redone: how many jobs and worlds were begun again since workers died.

    Args:
        gpus: that a job has to itself.
    """

    spreads = True

    def __init__(self, gpus: float = 0.0) -> None:
        self.redone, self.gpus = 0, gpus

    def workers(self, wanted: int) -> int:
        """See `Engine`."""
        return wanted or max(1, int(ray.cluster_resources().get("CPU", 1)))

    @contextmanager
    def jobs(self, count: int) -> Iterator[Jobs]:
        """See `Engine`; a job takes a core, and the cluster as many at once as it has."""
        require_some(workers=count)
        yield _RayJobs(self)

    def runs(self, count: int) -> AbstractContextManager[Jobs] | None:
        """See `Engine`; a single run stays where it was started."""
        return self.jobs(count) if count > 1 else None

    def envs(
        self,
        make: Callable[[], World],
        spec: EnvSpec,
        count: int,
        execute: int,
        preload: tuple[str, ...] = (),
    ) -> ChunkEnvs:
        """See `Engine`."""
        require_some(workers=count, execute=execute)
        return RayEnvs(self, make, spec, count, execute)


@contextmanager
def ray_cluster(address: str, cores: int | None = None, gpus: float = 0.0) -> Iterator[RayEngine]:
    """Ray's workers until the block ends: those of the cluster at an address ("auto", "host:port", "ray://host:port"), or
    of one of this machine's own.

    Args:
        cores: of a cluster of this machine's own; None: all.
        gpus: that a job has to itself.

    Raises:
        UserError: there is no cluster at the address, or it has not as many GPUs.
    """
    given = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    paths = os.pathsep.join([os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = {"env_vars": {**given, "PYTHONPATH": paths}}
    try:
        _require_somebody(address)
        ray.init(
            address=address or "local",
            num_cpus=None if address else cores,
            runtime_env=options,
            log_to_driver=False,
            include_dashboard=None if address else False,
            configure_logging=False,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"no Ray cluster at cluster.address={address} ({str(error).splitlines()[0]}); start one (ray start --head), "
            "or leave the address out for one of this machine's own"
        ) from error
    engine = RayEngine(gpus)
    try:
        if (there := ray.cluster_resources().get("GPU", 0.0)) < gpus:
            raise UserError(
                f"cluster.gpus={gpus:g}, and the cluster has {there:g}; a job would wait for ever"
            )
        yield engine
    finally:
        ray.shutdown()
        if engine.redone:
            print(
                f"  {engine.redone} jobs and worlds were begun again since their workers died",
                file=sys.stderr,
            )


def _require_somebody(address: str) -> None:
    """Raise an `OSError` where nobody listens: Ray would ask again and again for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()


class _RayJobs:
    """`Jobs` whose calls are Ray's tasks."""

    def __init__(self, engine: RayEngine) -> None:
        self._engine = engine

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> _RayJob:
        """See `Jobs`."""
        return _RayJob(self._engine, function, arguments)


class _RayJob:
    """A `Job`."""

    def __init__(self, engine: RayEngine, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._engine, self._arguments = engine, arguments
        self._task = ray.remote(num_cpus=1, num_gpus=engine.gpus, max_retries=0)(function)
        self._reference = self._task.remote(*arguments)

    def result(self) -> Any:
        """See `Job`.

        Raises:
            UserError: its workers died too often.
        """
        for _ in range(TRIES):
            try:
                return ray.get(self._reference)
            except RayTaskError as error:
                raise error.cause from None
            except RayError:
                self._engine.redone += 1
                self._reference = self._task.remote(*self._arguments)
        raise UserError(DIED.format(TRIES, "job"))


class RayEnvs(VectorEnv):
    """A `ChunkEnvs` of `count` worlds, each an actor's.

    What was done in a row since its episode began is kept here: where its actor dies, another begins the episode and does
    it again.

    Args:
        make: builds a world where the actor is: picklable.

    Raises:
        UserError: a world cannot be built.
    """

    def __init__(
        self, engine: RayEngine, make: Callable[[], World], spec: EnvSpec, count: int, execute: int
    ) -> None:
        self.env_spec, self.execute, self.num_envs = spec, execute, count
        self.single_observation_space = spec.observation_space
        self.single_action_space = spec.chunk_space(execute)
        self.observation_space = batch_space(self.single_observation_space, count)
        self.action_space = batch_space(self.single_action_space, count)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_fps": spec.control_rate}
        self._engine, self._make = engine, make
        self._shown = [spec.blank() for _ in range(count)]
        self._done: list[list[tuple[Any, ...]]] = [[] for _ in range(count)]  # since a row's episode began
        self._actors = [self._actor(row) for row in range(count)]
        self._ask(dict.fromkeys(range(count), ("ready",)))

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `ChunkEnvs.reset`."""
        options, rows = options or {}, self.num_envs
        mask = np.asarray(options.get("reset_mask", np.ones(rows, bool)), bool)
        film, follows = (np.broadcast_to(options.get(name, 0), rows) for name in ("film", "follows"))
        seeds = np.broadcast_to(0 if seed is None else seed, rows)
        calls = {}
        for row in np.flatnonzero(mask).tolist():
            own = {"film": {row: int(film[row])}, "follows": {row: bool(follows[row])}}
            calls[row] = ("reset", int(seeds[row]), own)
            if not follows[row]:
                self._done[row] = []
        return self._together(self._ask(calls))

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """See `ChunkEnvs.step`."""
        calls = {row: ("step", np.asarray(actions[row])) for row in range(self.num_envs)}
        given = self._ask(calls)
        observation, info = self._together(given)
        reward, terminated, truncated = (
            np.array([answer[place] for answer in given.values()]) for place in (1, 2, 3)
        )
        return observation, reward, terminated, truncated, info

    def close(self, **kwargs: Any) -> None:
        """See `ChunkEnvs.close`."""
        for actor in self._actors:
            ray.kill(actor)
        self.closed = True

    def _actor(self, row: int) -> Any:
        return _Row.remote(self._make, self.env_spec, self.execute, row)

    def _ask(self, calls: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """What the rows' actors answer to calls (method, arguments…), asked all at once."""
        asked = {row: self._begin(row, call) for row, call in calls.items()}
        return {row: self._answer(row, reference, calls[row]) for row, reference in asked.items()}

    def _begin(self, row: int, call: tuple[Any, ...]) -> Any:
        return getattr(self._actors[row], call[0]).remote(*call[1:])

    def _answer(self, row: int, reference: Any, call: tuple[Any, ...]) -> Any:
        for _ in range(TRIES):
            try:
                given = ray.get(reference)
                break
            except RayTaskError as error:
                raise error.cause from None
            except RayActorError:
                self._engine.redone += 1
                self._actors[row] = self._actor(row)
                for before in self._done[row]:
                    self._begin(row, before)
                reference = self._begin(row, call)
        else:
            raise UserError(DIED.format(TRIES, "world"))
        if call[0] != "ready":
            self._done[row].append(call)
        return given

    def _together(self, given: Mapping[int, tuple[Any, ...]]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Observation and info of all rows, after some have answered."""
        info: dict[str, Any] = {}
        for row, (shown, *_, told) in given.items():
            self._shown[row] = shown
            info = self._add_info(info, told, row)
        space: Any = self.single_observation_space
        seen: Any = concatenate(space, self._shown, create_empty_array(space, self.num_envs))
        return seen, info


@ray.remote(max_restarts=0, scheduling_strategy="SPREAD")
class _Row:
    """One row of a `RayEnvs`, in a worker. It keeps no core to itself: rows wait for a policy, jobs must not for rows."""

    def __init__(self, make: Callable[[], World], spec: EnvSpec, execute: int, row: int) -> None:
        self._env = ChunkEnv(make, spec, execute, row)
        self._error = self._env.build()

    def ready(self) -> None:
        """Raise a `UserError` where the world could not be built."""
        if self._error:
            raise UserError(self._error)

    def reset(self, seed: int, options: dict[str, Any]) -> tuple[Any, ...]:
        """See `ChunkEnv`."""
        return self._env.reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        """See `ChunkEnv`."""
        return self._env.step(action)
