"""Processes that stand for hosts, each with devices of its own, on loopback."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 500  # seconds


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """The lines of stdout that are not JAX's own."""
        return [line for line in self.out.splitlines() if not line.startswith("[Gloo]")]

    @property
    def mistake(self) -> str:
        """The one line that says what was wrong."""
        (line,) = (line for line in self.err.splitlines() if line.startswith("error: "))
        return line.removeprefix("error: ")


@dataclass(frozen=True)
class Host:
    """A started one."""

    process: subprocess.Popen[str]

    def kill(self) -> None:
        """Kill the process that works, a child of the one that was started, or that one where no child runs."""
        own = self.process.pid
        for number in Path(f"/proc/{own}/task/{own}/children").read_text().split() or [own]:
            os.kill(int(number), signal.SIGKILL)

    def end(self) -> Ended:
        """Wait for it."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return Ended(self.process.returncode, out, err)


SLURM_PORTS = 61440  # the first of those that JAX makes of a job's number


def free_port(least: int = 0) -> int:
    """One that nobody listens at."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", random.randrange(least, 65536) if least else 0))
        return made.getsockname()[1]


def start(
    command: Sequence[str],
    count: int,
    devices: int = 1,
    others: Sequence[str] = (),
    slurm: bool = False,
    port: int = 0,
) -> list[Host]:
    """`python -m COMMAND` on `count` hosts; on one it is an ordinary process.

    Args:
        others: what all but the first are told besides.
        port: of the first; 0: one that is free.
        slurm: whether the variables of a job of SLURM's tell who is who, instead of arguments.
    """
    settings = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    port = port or free_port(SLURM_PORTS if slurm else 0)
    coordinator, made = f"127.0.0.1:{port}", []
    for number in range(count):
        told = [
            f"cluster.coordinator={coordinator}",
            f"cluster.processes={count}",
            f"cluster.process={number}",
        ]
        joined = ["cluster=hosts", "cluster.heartbeat=10", *([] if slurm else told)] if count > 1 else []
        job = {
            "JOB_ID": port - SLURM_PORTS,
            "STEP_NODELIST": "localhost",
            "NTASKS": count,
            "PROCID": number,
            "LOCALID": number,
        }
        variables = {f"SLURM_{name}": str(value) for name, value in job.items()} if slurm else {}
        words = [sys.executable, "-m", *command, *joined, *(others if number else ())]
        process = subprocess.Popen(
            words,
            env={**os.environ, **settings, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        made.append(Host(process))
    return made
