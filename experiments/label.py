"""Write a critic's values of a data set where other tools read them, and if asked for a weight for every frame.

    python -m experiments.label DATASET critic=wvm [out=…]
    python -m experiments.label DATASET critic=wvm weights=DATASET/sample_weights.parquet method=awr

DATASET is a LeRobot v3 folder. The progress file, DATASET/sarm_progress.parquet unless out= says otherwise, is what
LeRobot's RA-BC training (`--sample_weighting.type=rabc`) and its visualiser read. weights= names a file with the columns
index (of the frame in the data set) and weight: what the method makes of the values, for any training that weighs its
samples. A killed command goes on where it stopped, and of a data set that has grown only the new episodes are labelled. A
file that another tool or another critic made is left alone unless replace=true. The last line is JSON: the files written,
and what labelling took.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

from envs.errors import UserError
from envs.store import Store, open_store
from envs.store.lazy import lazy_episodes
from experiments.choices.critics import CriticSource
from experiments.lab.artifacts import Artifacts, digest
from experiments.labelling.files import kept, note, require_ours, write_weights
from experiments.labelling.label import LABELS, Curves, value_curves
from experiments.reports.results import sample_weights
from experiments.settings.cli import answer, prepare_one, words
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import require
from experiments.stages.fit import check_watched
from experiments.value_benchmark.critic import bench_critic
from policy_extraction.batch import NOTHING_LEFT, make_batch
from policy_extraction.dataset import build_dataset
from policy_extraction.types import PromptedMethod, learns_from_data
from value_model.critic.progress import SIDECAR, write_progress

DEFAULTS = [{"critic": "wvm"}, {"advantage": "chunk_difference"}, {"method": "awr"}]


@dataclass(frozen=True)
class LabelConfig:
    """A critic, and where its values go."""

    critic: Any = MISSING
    advantage: Any = MISSING  # of weights=
    method: Any = MISSING  # of weights=
    out: str = ""  # the progress file; empty: sarm_progress.parquet in the data set
    weights: str = ""  # a file for a weight of every frame; empty: none
    chunk: int = 10  # actions of a chunk: how far ahead an advantage looks
    replace: bool = False  # write over files that another tool or another critic made
    seed: int = 0  # of the method, where it draws
    outputs: str = "outputs"  # keeps the values, an episode at a time

    def __post_init__(self) -> None:
        require(self.chunk >= 1, f"chunk={self.chunk} must be at least 1")
        require(
            not self.weights or learns_from_data(self.method),
            "this method learns from rollouts alone: it has no weights of data; choose another method=",
        )
        require(
            not self.weights or not isinstance(self.method, PromptedMethod),
            "this method tells the policy its advantage in words, which no weight can say; choose another method=",
        )


def label(arguments: Sequence[str]) -> None:
    """The command with its arguments.

    Raises:
        UserError: a mistake in them, a data set or critic that cannot be read, or a file that is somebody else's.
    """
    store_command("label", LabelConfig, DEFAULTS)
    folder, settings = data_set(arguments)
    chosen = prepare_one("label", settings)
    config: LabelConfig = chosen.config
    store = open_store(folder)
    check_watched(store, config.critic)
    source = critic_source(config.critic, store, Path(config.outputs))
    out = None if source.file is not None and not config.out else Path(config.out or folder / SIDECAR)
    if out is None and not config.weights:
        raise UserError(
            "critic=sidecar has its values in a file already; say weights=… or out=… to write another"
        )
    said = note(chosen.names["critic"], source.digest)
    recipe = digest([source.digest, config.method, config.advantage, config.chunk])
    said_of_weights = note(f"{chosen.names['method']} weights", recipe)
    for path, who in ((out, said), (Path(config.weights) if config.weights else None, said_of_weights)):
        if path is not None:
            require_ours(path, who, config.replace)
    config.critic.check(list(lazy_episodes(store, range(min(2, len(store))))))
    curves = value_curves(store, source, Path(config.outputs) / LABELS)
    written = _write(store, curves, config, out, (said, said_of_weights))
    _report(store, curves, written)


def data_set(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """The one folder that a command line names, and its settings.

    Raises:
        UserError: it names none, or several.
    """
    named = words(arguments)
    if len(named) != 1:
        raise UserError(f"give one folder of a LeRobot v3 data set, not {len(named)}")
    return Path(named[0]), [argument for argument in arguments if argument not in named]


def critic_source(choice: Any, store: Store, outputs: Path) -> CriticSource:
    """The critic that `critic=` chose, for the episodes of a store."""
    infos = (store.episode_info(index) for index in range(len(store)))
    worlds = {f"{info.task}-{info.robot}" for info in infos}
    return bench_critic(Artifacts(outputs / "artifacts"), choice, worlds)


def _write(
    store: Store, curves: Curves, config: LabelConfig, out: Path | None, said: tuple[str, str]
) -> list[Path]:
    """Write the files that were asked for."""
    written, values = [], []
    if out is not None:
        write_progress(out, store, kept(curves, values) if config.weights else curves, said[0])
        written.append(out)
    if config.weights:
        write_weights(Path(config.weights), _weights(store, values or list(curves), config), said[1])
        written.append(Path(config.weights))
    return written


def _weights(store: Store, values: Sequence[np.ndarray], config: LabelConfig) -> np.ndarray:
    """How much the chunk that begins at each frame counts in the method's loss: float32 [N], of mean 1."""
    numbers = (store.episode(index, ()) for index in range(len(store)))
    samples = build_dataset(numbers, values, config.advantage, config.chunk)
    selected = config.method.select(samples)
    require(len(selected) > 0, NOTHING_LEFT)
    weights = sample_weights(config.method, samples, selected, make_batch(selected, {}))
    require(
        bool(np.isfinite(weights).all()), "the method gives a weight that is no number; use another method="
    )
    require(bool((weights >= 0).all()), "the method gives a negative weight; use another method=")
    require(bool(weights.any()), NOTHING_LEFT)
    return weights / weights.mean()


def _report(store: Store, curves: Curves, written: Sequence[Path]) -> None:
    reused = len(store) - curves.labelled
    if curves.cache is not None:
        rate = f" ({curves.frames / curves.seconds:.0f} frames/s)" if curves.labelled else ""
        print(f"  {curves.labelled} episodes labelled{rate}, {reused} known before", file=sys.stderr)
    for path in written:
        print(path)
    found = {"episodes": len(store), "labelled": curves.labelled, "frames": curves.frames}
    seconds = round(curves.seconds, 2)
    print(json.dumps({"written": [str(path) for path in written], **found, "seconds": seconds}))


@command
def main() -> None:
    """The command line."""
    answer(label, __doc__)


if __name__ == "__main__":
    main()
