"""What a job of SLURM's asks for: `cluster=slurm cluster.partition=… cluster.gpus=…`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from envs.errors import UserError
from experiments.settings.config import require

PREFIX = "cluster."


@dataclass(frozen=True)
class SlurmNeeds:
    """Of every job, and where its files go. local: processes of this machine instead of jobs."""

    folder: str = "outputs/slurm"
    partition: str = ""
    account: str = ""
    minutes: int = 24 * 60
    cpus: int = 2
    gpus: int = 0
    memory: int = 16  # GB
    at_once: int = 64  # jobs of the array
    requeued: int = 3  # times that a job which ran out of time goes on
    local: bool = False

    def __post_init__(self) -> None:
        for name in ("minutes", "cpus", "memory", "at_once"):
            require(getattr(self, name) >= 1, f"{PREFIX}{name}={getattr(self, name)} must be at least 1")
        require(bool(self.folder), f"{PREFIX}folder= is empty; it is where the jobs' output goes")


SETTINGS = tuple(f"{PREFIX}{one.name}" for one in fields(SlurmNeeds))


def slurm_needs(given: Mapping[str, str]) -> SlurmNeeds:
    """What words of a command line ask for, {setting: value}.

    Raises:
        UserError: one is no number, or neither true nor false.
    """
    found: dict[str, Any] = {}
    for one in fields(SlurmNeeds):
        setting = f"{PREFIX}{one.name}"
        if setting in given:
            found[one.name] = _read(setting, given[setting], type(one.default))
    return SlurmNeeds(**found)


def _read(setting: str, text: str, kind: type) -> str | int | bool:
    if kind is bool:
        return truth(setting, text)
    if kind is int:
        require(text.isdecimal(), f"{setting}={text} is a whole number")
        return int(text)
    return text


def truth(setting: str, text: str) -> bool:
    """Whether a setting is true.

    Raises:
        UserError: it is neither true nor false.
    """
    if text not in ("true", "false"):
        raise UserError(f"{setting}={text} is true or false")
    return text == "true"
