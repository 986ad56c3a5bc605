"""What going through a cluster costs, on this machine: `python -m experiments.bench scale`.

Rates are of the steady state: starting workers and compiling are left out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envs.collect import collect
from envs.engine import LocalEngine, running_on
from envs.store import Store, open_store
from experiments.choices.wvm_critics import WVMChoice
from experiments.labelling.spread import values_anywhere
from experiments.reports.corpus import Corpus, Measured, tell_corpus
from experiments.reports.run_report import table
from experiments.settings.cluster import on_ray
from experiments.settings.config import require

Engines = Callable[[int], AbstractContextManager[None]]  # with so many workers
WARM = 2  # demonstrations of each worker that are left out


@dataclass(frozen=True)
class ScaleBench:
    """Demonstrations by several numbers of workers, and labels, without and with a cluster."""

    task: str = "lift"
    workers: tuple[int, ...] = (1, 2, 4)
    demonstrations: int = 40  # of each measurement, beside those that warm up
    repeats: int = 2  # of each, alternating; the faster counts
    corpus: Corpus = field(default_factory=Corpus)  # for which a cluster is reckoned

    def __post_init__(self) -> None:
        require(bool(self.workers) and min(self.workers) >= 1, "workers must name numbers of at least 1")
        require(self.demonstrations >= 4, f"demonstrations={self.demonstrations} must be at least 4")
        require(self.repeats >= 1, f"repeats={self.repeats} must be at least 1")


@dataclass
class _Clock:
    """When each of many things was done."""

    at: list[float] = field(default_factory=list)

    def tick(self, count: int) -> None:
        self.at += [time.perf_counter()] * count

    def rate(self, warm: int) -> float:
        """Things a second after the first `warm`."""
        return (len(self.at) - warm) / (self.at[-1] - self.at[warm - 1])


def bench_scale(config: ScaleBench) -> Mapping[str, Any]:
    """Print the tables; give their numbers."""
    engines: dict[str, Engines] = {
        "processes": lambda count: nullcontext(),
        "ray": lambda count: on_ray("", count),
    }
    found: dict[str, Any] = {"demonstrations_per_s": {}, "labels_per_s": {}}
    rows = []
    for count in config.workers:
        rates: dict[str, float] = {}
        for _ in range(config.repeats):
            for name, engine in engines.items():
                rates[name] = max(rates.get(name, 0.0), _demonstrations(config, count, engine))
        found["demonstrations_per_s"][str(count)] = rates
        rows.append([str(count), *(f"{rate:.2f}" for rate in rates.values()), _overhead(rates)])
    print(table(["workers", "demonstrations/s, processes", "Ray", "overhead"], rows) + "\n")
    found["labels_per_s"], read = _labels(config, engines)
    labels = found["labels_per_s"]
    one = ["1", *(f"{rate:.0f}" for rate in labels.values()), _overhead(labels)]
    print(table(["workers", "labelled frames/s, this process", "Ray", "overhead"], [one]))
    on_ray_alone = {count: rates["ray"] for count, rates in found["demonstrations_per_s"].items()}
    if "1" in on_ray_alone:
        found["corpus"] = tell_corpus(config.corpus, Measured(on_ray_alone, **read))
    return found


def _overhead(rates: Mapping[str, float]) -> str:
    return f"{100 * (rates['processes'] / rates['ray'] - 1):+.1f} %"


def _demonstrations(config: ScaleBench, count: int, engine: Engines) -> float:
    """Demonstrations a second, written to disk."""
    clock, warm = _Clock(), WARM * count
    with tempfile.TemporaryDirectory() as folder, engine(count):
        styles = {"clean": config.demonstrations + warm}
        collect(Path(folder) / "data", config.task, styles=styles, seed=0, workers=count, progress=clock.tick)
    return clock.rate(warm)


def _labels(config: ScaleBench, engines: dict[str, Engines]) -> tuple[dict[str, float], dict[str, float]]:
    """Frames a second that the critic that ships values; and what reading them takes, see `Measured`."""
    rates = dict.fromkeys(engines, 0.0)
    with tempfile.TemporaryDirectory() as folder, running_on(LocalEngine()):
        styles = {"clean": config.demonstrations}
        collect(Path(folder) / "data", config.task, styles=styles, seed=0)
        store = open_store(Path(folder) / "data")
        for name, engine in reversed(engines.items()):  # Ray forks, which should come before JAX has threads
            with engine(1):
                rates[name] = _labelled(store)
        return rates, _read(store)


def _read(store: Store) -> dict[str, float]:
    """How fast one process decodes a store's frames, and how large they are."""
    began = time.process_time()
    pixels = sum(picture.size // 3 for episode in store for picture in episode.images.values())
    seconds = time.process_time() - began
    size = sum(file.stat().st_size for file in store.folder.rglob("*") if file.is_file())
    return {"decoded": pixels / seconds, "episode_bytes": size / len(store)}


def _labelled(store: Store) -> float:
    """The second pass over the data counts: then all is compiled."""
    source = WVMChoice().saved()
    for values in (values_anywhere(source, store), values_anywhere(source, store)):
        clock = _Clock()
        clock.tick(1)
        for one in values:
            clock.tick(len(one))
    return clock.rate(1)
