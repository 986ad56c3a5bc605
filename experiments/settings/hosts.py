"""One command, started several times, whose processes train together.

`cluster=hosts`: what JAX trains, on every host (`jax.distributed`); `cluster=torchrun`: torch policies, on every GPU.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta

from envs.errors import UserError
from experiments.lab.hosts import Hosts, JaxHosts, TorchHosts, going_with
from experiments.settings.command import INTERRUPTED, explain

PATIENCE = timedelta(days=30)  # that processes wait for one another
HEARTBEAT = 60  # seconds without one, until a host is taken for dead
STOPPED = (
    "another host has stopped, its own last lines say why; start the command on all hosts again: it goes on from its last "
    "checkpoint"
)
LONELY = re.compile("gloo|nccl|coordination ?service", re.IGNORECASE)  # who speaks to the other hosts


@contextmanager
def on_hosts(
    coordinator: str = "",
    processes: int | None = None,
    process: int | None = None,
    heartbeat: int = HEARTBEAT,
) -> Iterator[None]:
    """A block that every host goes through. Without arguments, who is who follows from SLURM, Open MPI or Kubernetes.

    A child of this process goes through the block, since JAX ends a process whose companions are gone; this one says so.

    Raises:
        UserError: nothing tells the hosts apart.
    """
    joined, tell = os.pipe()
    child = os.fork()
    if child:
        _leave_as(child, joined, coordinator)
    with _leaving():
        hosts = _join(coordinator, processes, process, heartbeat)
        os.write(tell, b"1")
        with _going(hosts):
            yield
        _part()


@contextmanager
def on_torchrun(shards: bool = False) -> Iterator[None]:
    """A block that every process of `torchrun` goes through; with the policy whole, or in shards.

    Raises:
        UserError: it was not started by `torchrun`.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UserError(
            "cluster=torchrun trains torch policies: pip install 'policy-extraction[torch]'"
        ) from error
    distributed = torch.distributed
    if not distributed.is_torchelastic_launched():
        raise UserError(
            "cluster=torchrun is for commands that torchrun starts: torchrun --nproc-per-node 2 -m experiments.run … "
            "cluster=torchrun"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        with _going(TorchHosts(distributed.get_rank(), distributed.get_world_size(), shards)):
            yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def _going(hosts: Hosts) -> Iterator[None]:
    """The block, of which the leader alone says something, beside mistakes."""
    with going_with(hosts), ExitStack() as stack:
        if not hosts.leads:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield


def _join(coordinator: str, processes: int | None, process: int | None, heartbeat: int) -> JaxHosts:
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM to itself
    try:
        jax.distributed.initialize(
            coordinator or None, processes, process, heartbeat_timeout_seconds=heartbeat
        )
    except ValueError as error:
        raise UserError(
            "cluster=hosts is no job of SLURM, Open MPI or Kubernetes here; say who is who: cluster.coordinator=HOST:PORT "
            "cluster.processes=N cluster.process=I"
        ) from error
    except RuntimeError as error:
        raise UserError(_not_found(coordinator, f" ({str(error).splitlines()[0]})")) from error
    return JaxHosts(jax.process_index(), jax.process_count())


def _not_found(coordinator: str, reason: str = "") -> str:
    """What is said where hosts do not come together."""
    place = coordinator or "the address of the job"
    return (
        f"the hosts do not find one another at {place}{reason}; use another port if this one is taken, and start all "
        "of them within five minutes"
    )


def _part() -> None:
    """Leave the others; all are done."""
    import jax

    jax.distributed.shutdown()


@contextmanager
def _leaving() -> Iterator[None]:
    """End this process at once where something goes wrong: whoever waits for it then knows."""
    try:
        yield
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.__stderr__, flush=True)
        os._exit(130)
    except Exception as error:
        line = STOPPED if _is_lonely(error) else explain(error)
        if line is None:
            traceback.print_exception(error, file=sys.__stderr__)
        else:
            print(f"error: {line}", file=sys.__stderr__, flush=True)
        os._exit(1 if line is None else 2)


def _is_lonely(error: Exception) -> bool:
    """Whether it says that a host did not answer any more: JAX raises what it likes."""
    return isinstance(error, (RuntimeError, ValueError)) and bool(LONELY.search(str(error)))


def _leave_as(child: int, joined: int, coordinator: str) -> None:
    """Wait for the child, pass on what is sent to this process, and end as it did.

    Args:
        joined: where it writes once the hosts are together: JAX may end it instead of raising, before that and after.
    """
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the child by itself
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    together = bool(select.select([joined], [], [], 0)[0])
    if code == -signal.SIGABRT or (code == -signal.SIGSEGV and not together):
        print(f"error: {STOPPED if together else _not_found(coordinator)}", file=sys.stderr)
        os._exit(2)
    os._exit(128 - code if code < 0 else code)
