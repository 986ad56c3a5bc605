"""What the command `value_bench` does: generate the benchmark, label it, measure, and report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envs.store_writer import refuse_existing
from experiments.artifacts import Artifacts
from experiments.compose import composed, store_command
from experiments.config import require
from experiments.stages.value_bench_data import export, generate, open_benchmark
from experiments.value_bench_set import BenchData


@dataclass(frozen=True)
class GenerateConfig:
    """The benchmark's data set alone. folder: where to put a copy; empty: it stays among the artifacts."""

    folder: str = ""
    data: BenchData = field(default_factory=BenchData)
    outputs: str = "outputs"


def run_value_bench(arguments: Sequence[str]) -> None:
    """The command with its arguments.

    Raises:
        UserError: a mistake in them, or the data set or critic is not what it has to be.
    """
    if arguments and arguments[0] == "generate":
        store_command("value_bench_generate", GenerateConfig)
        generate_bench(composed("value_bench_generate", arguments[1:]))


def generate_bench(config: GenerateConfig) -> None:
    """Make the data set, check it, and say where it is; the last line is JSON.

    Raises:
        UserError: settings that make no sense here, or the folder is taken.
    """
    require(not config.data.path, "generate makes a benchmark; data.path= is for one that exists already")
    if config.folder:
        refuse_existing(Path(config.folder))
    made = generate(Artifacts(Path(config.outputs) / "artifacts"), config.data)
    if config.folder:
        export(made, Path(config.folder))
        made = Path(config.folder)
    bench = open_benchmark(made)
    facts = {name: bench.facts[name] for name in ("episodes", "frames", "styles", "redraws")}
    print(json.dumps({"name": bench.name, "folder": str(made), **facts}))
