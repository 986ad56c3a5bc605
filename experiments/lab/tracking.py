"""Weights & Biases, kept quiet: offline unless the machine is logged in or the user asks otherwise."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.lab.hosts import follows
from experiments.settings.config import WandbConfig


class Tracker:
    """Receives the numbers of a run as they come."""

    def __init__(self, run: Any | None):
        self._run = run

    def log(self, metrics: Mapping[str, float]) -> None:
        """Record metrics of a moment."""
        if self._run is not None:
            self._run.log(dict(metrics))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Record results."""
        if self._run is not None:
            self._run.summary.update(_named(values))


def _named(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The same with text for keys, within it too: wandb takes no others."""
    return {str(key): _named(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def logged_in() -> bool:
    """Whether this machine has a key for Weights & Biases."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


@contextmanager
def tracked(config: WandbConfig, name: str, folder: Path, settings: Mapping[str, Any]) -> Iterator[Tracker]:
    """A tracker for one run; its files go to `folder`/wandb. `WANDB_MODE` decides where `wandb.mode=auto`."""
    mode = config.mode
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
    if mode == "disabled" or follows():
        yield Tracker(None)
        return
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    with wandb.init(
        project=config.project, name=name, dir=folder, config=dict(settings), mode=mode, settings=quiet
    ) as run:
        yield Tracker(run)
