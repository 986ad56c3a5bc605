"""Stages `label` and `metrics`: a critic's values of a data set, and how good they are on held-out ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.files import atomic_file
from experiments.choices.critics import CriticSource
from experiments.lab.artifacts import Artifacts
from experiments.lab.progress import announce, bar
from experiments.labelling.label import LABELS, known_curves
from experiments.labelling.spread import values_anywhere
from experiments.settings.config import HeldOutConfig, TaskConfig
from experiments.stages.data import Data, collect_data
from value_model.critic.label import label_store
from value_model.critic.metrics.episodes import measure_critic
from value_model.critic.progress import SIDECAR, read_progress

VERSION = 1


@dataclass(frozen=True)
class Labels:
    """Values of a data set.

    values: float32 [T] for every episode; digest: of all that they were made from; report: a `LabelReport`, empty for
    values that came from a file.
    """

    values: list[np.ndarray]
    digest: str
    report: Mapping[str, Any]


def label(artifacts: Artifacts, data: Data, source: CriticSource) -> Labels:
    """Values of every frame: by a critic, or from its progress file; those that `experiments.label` has kept are read.

    Raises:
        UserError: the file does not fit the data set, or holds values outside [0, 1].
    """
    store = data.open()
    if source.file is not None:
        return Labels(read_progress(source.file, store), source.digest, {})

    def build(folder: Path) -> None:
        known = known_curves(store, source, artifacts.root.parent / LABELS)
        with bar("label", store.total_frames, "frames") as shown:
            values = values_anywhere(source, store) if known is None else known
            report = label_store(values, store, folder / SIDECAR, shown.update, f"critic {source.digest}")
        if known is not None:
            report = replace(report, frames_per_s=None)
        with atomic_file(folder / "report.json") as temporary:
            temporary.write_text(json.dumps(asdict(report), indent=1))

    inputs = {"data": data.digest, "critic": source.digest}
    made = announce(artifacts.make("label", VERSION, None, inputs, build))
    report = json.loads((made.folder / "report.json").read_text())
    return Labels(read_progress(made.folder / SIDECAR, store), made.digest, report)


def critic_metrics(
    artifacts: Artifacts, task: TaskConfig, held_out: HeldOutConfig, source: CriticSource
) -> Mapping[str, Any] | None:
    """The critic's metrics on held-out episodes of the task; None for values from a file."""
    if source.file is not None:
        return None
    data = collect_data(artifacts, task, held_out.styles, "held_out", 0)

    def build(folder: Path) -> None:
        with bar("metrics", len(data.open()), "episodes") as shown:
            metrics = measure_critic(source.load(), data.open(), shown.update)
        with atomic_file(folder / "metrics.json") as temporary:
            temporary.write_text(json.dumps(metrics, indent=1))

    inputs = {"data": data.digest, "critic": source.digest}
    made = announce(artifacts.make("metrics", VERSION, None, inputs, build))
    return json.loads((made.folder / "metrics.json").read_text())
