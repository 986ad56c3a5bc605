"""Whole runs as jobs of SLURM's, through submitit. Only this file knows submitit; it is imported where `cluster=slurm` was
asked for.

The runs of a sweep or comparison are one array of jobs. What a run has finished lies among the artifacts: a job that is
preempted or runs out of time is queued again and goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError

from envs.engine import Jobs, LocalEngine
from envs.errors import UserError
from experiments.settings.slurm import SlurmNeeds


class SlurmEngine(LocalEngine):
    """An `Engine` whose runs are jobs; all else is done where it is asked for."""

    def __init__(self, needs: SlurmNeeds) -> None:
        self._needs = needs

    def runs(self, count: int) -> AbstractContextManager[Jobs] | None:
        """See `Engine`."""
        return self._array(count)

    @contextmanager
    def _array(self, count: int) -> Iterator[Jobs]:
        jobs = _Array(_executor(self._needs), count)
        try:
            yield jobs
        finally:
            jobs.leave()


def _executor(needs: SlurmNeeds) -> submitit.AutoExecutor:
    """What submits.

    Raises:
        UserError: there is no SLURM here.
    """
    options = {} if needs.local else {"slurm_max_num_timeout": needs.requeued}
    try:
        executor = submitit.AutoExecutor(needs.folder, "local" if needs.local else "slurm", **options)
    except RuntimeError as error:
        raise UserError(
            f"cluster=slurm: {error}; start it where sbatch is, or try it on this machine: cluster.local=true"
        ) from error
    told = {"gpus_per_node": needs.gpus, "slurm_partition": needs.partition, "slurm_account": needs.account}
    executor.update_parameters(
        name="policy-extraction",
        timeout_min=needs.minutes,
        cpus_per_task=needs.cpus,
        mem_gb=needs.memory,
        slurm_array_parallelism=needs.at_once,
        stderr_to_stdout=False,
        **{name: value for name, value in told.items() if value},
    )
    return executor


class _Array:
    """`Jobs` that are submitted together, as soon as all of them are there."""

    def __init__(self, executor: submitit.AutoExecutor, count: int) -> None:
        self._executor, self._count = executor, count
        self._waiting: list[_Call] = []
        self._begun: list[submitit.Job[Any]] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> _SlurmJob:
        """See `Jobs`."""
        self._waiting.append(_Call(function, arguments))
        if len(self._waiting) == self._count:
            self._begin()
        return _SlurmJob(self, len(self._waiting) - 1)

    def begun(self, number: int) -> submitit.Job[Any]:
        """The job of a call."""
        return self._begun[number]

    def leave(self) -> None:
        """Cancel what nobody waits for any more."""
        for job in self._begun:
            if not job.done():
                job.cancel(check=False)

    def _begin(self) -> None:
        with self._executor.batch():
            begun = [self._executor.submit(call) for call in self._waiting]
        self._begun = begun
        first, last = begun[0].job_id, begun[-1].job_id
        print(
            f"  {len(begun)} jobs, {first} to {last}: their output is in {begun[0].paths.folder}",
            file=sys.stderr,
        )


@dataclass(frozen=True)
class _Call:
    """What a job does; again from the beginning, where finished stages are found, if it is queued again."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __call__(self) -> tuple[Any, str]:
        """What comes of it, and a mistake of the user's, if it was one.

        It is done in a thread of its own: SLURM's signals come to the first, and what submitit raises on them would be lost
        in the midst of some library's call.
        """
        found: Future[tuple[Any, str]] = Future()
        Thread(target=self._make, args=[found], daemon=True).start()
        return found.result()

    def _make(self, found: Future[tuple[Any, str]]) -> None:
        try:
            found.set_result((self.function(*self.arguments), ""))
        except UserError as error:
            found.set_result((None, str(error)))
        except BaseException as error:
            found.set_exception(error)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What is to be queued again."""
        return submitit.helpers.DelayedSubmission(self)


class _SlurmJob:
    """A `Job`."""

    def __init__(self, array: _Array, number: int) -> None:
        self._array, self._number = array, number

    def result(self) -> Any:
        """See `Job`.

        Raises:
            UserError: the run's own, or it was lost.
        """
        job = self._array.begun(self._number)
        try:
            found, mistake = job.result()
        except (FailedJobError, UncompletedJobError) as error:
            raise UserError(
                f"job {job.job_id} was lost ({job.state}): {job.paths.stderr} says why; the same command goes on from "
                "what is done"
            ) from error
        if mistake:
            raise UserError(mistake)
        return found
