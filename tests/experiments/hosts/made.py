"""A command of two stages, for `test_hosts`: what is made by one host, and what by all.

python -m tests.experiments.hosts.made outputs=FOLDER [word=…] [dies=true]: who is told so dies in the second stage.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lab.artifacts import SCRATCH, Artifacts
from experiments.settings.cli import answer
from experiments.settings.command import command


def means(folder: Path) -> dict[str, Any]:
    """Of two batches of four numbers; and which rows of them this host has read."""
    from value_model.video.loop import HostBatches, run_updates
    from value_model.video.sharding import device_mesh

    read, losses = [], []

    def rows(number: int, own: slice) -> np.ndarray:
        read.append([own.start, own.stop])
        return np.arange(4.0, dtype=np.float32)[own] * (1 + number)

    def update(state: Any, key: Any, data: Any) -> Any:
        return {"total": state["total"] + data.mean()}, {"loss": data.mean(), "grad_norm": data.max()}

    run_updates(
        "means",
        update,
        {"total": np.zeros((), np.float32)},
        HostBatches(rows, 4),
        2,
        folder,
        seed=0,
        per_dispatch=1,
        checkpoint_every=2,
        progress=lambda stage, done, total, metrics: losses.append(metrics["loss"]),
        mesh=device_mesh(),
    )
    return {"read": read, "losses": losses}


def make_both(arguments: Sequence[str]) -> None:
    """Both stages; the last line says what is in them."""
    from jax import process_count, process_index

    told = dict(word.split("=") for word in arguments)
    artifacts = Artifacts(Path(told["outputs"]))

    def alone(folder: Path) -> None:
        (folder / str(process_index())).write_text(str(process_count()))

    def by_all(folder: Path) -> None:
        if "dies" in told:
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / str(process_index())).write_text(json.dumps(means(folder / SCRATCH)))

    first = artifacts.make("alone", 1, {"word": told.get("word", "")}, {}, alone)
    second = artifacts.make("by_all", 1, {}, {"alone": first.digest}, by_all, over="jax")
    files = [[path for path in made.folder.iterdir() if path.name.isdecimal()] for made in (first, second)]
    print(json.dumps([{path.name: json.loads(path.read_text()) for path in some} for some in files]))


@command
def main() -> None:
    """The command line."""
    answer(make_both, __doc__, over=("hosts",))


if __name__ == "__main__":
    main()
