"""How good a critic's values are on trajectories with exact true values: Suboptimal-Value-Bench, rebuilt in simulation.

    python -m experiments.value_bench critic=wvm                      the critic that ships
    python -m experiments.value_bench critic=wvm critic.path=/a/folder   one that you trained
    python -m experiments.value_bench critic=wvm,time_index           several, beside one another
    python -m experiments.value_bench critic=my_module:fn             yours: (frames, instruction) -> values
    python -m experiments.value_bench critic=… measure.subset=robosuite data.path=/a/benchmark/folder
    python -m experiments.value_bench critic=wvm branches=[lift,stack]   also: does it rank branches from one state?
    python -m experiments.value_bench generate [folder=/where/to]     makes the data set, and nothing else

The data set is made from its seeds on its first use (half an hour on two cores) and kept under outputs. Prints a table;
a report is written to outputs/value_bench/<name>/; the last line is JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

from envs.errors import UserError
from envs.files import atomic_file
from envs.store import EpisodeInfo, Store
from envs.store.writer import refuse_existing
from experiments.lab.artifacts import Artifacts, canonical, digest
from experiments.lab.provenance import made_by
from experiments.reports.rankings import TRUTH
from experiments.settings.chosen import Chosen, varied
from experiments.settings.cli import answer, prepare, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import TaskConfig, require
from experiments.stages.critic import examples
from experiments.stages.ranking import BranchSettings
from experiments.value_benchmark.branches import BranchRankings, branch_table, check_tasks, rank_branches
from experiments.value_benchmark.critic import bench_critic
from experiments.value_benchmark.data import Benchmark, export, generate, get_benchmark, open_benchmark
from experiments.value_benchmark.episodes import NAME, PUBLISHED_TASKS, BenchData
from experiments.value_benchmark.measures import Measures, chosen
from experiments.value_benchmark.measuring import BASE, all_infos, label_bench, plan, summarize
from experiments.value_benchmark.report import group_columns, headline, markdown, metrics_table
from value_model.critic.progress import read_progress


@dataclass(frozen=True)
class ValueBenchConfig:
    """A critic, the benchmark, and what is measured."""

    critic: Any = MISSING
    data: BenchData = field(default_factory=BenchData)
    measure: Measures = field(default_factory=Measures)
    branches: tuple[str, ...] = ()  # tasks whose branches it ranks, too; see experiments.branch_bench
    branch: BranchSettings = field(default_factory=BranchSettings)
    name: str = ""  # of the report's folder; empty: made from the critic and the settings
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        check_tasks(self.branches)
        require(not set(self.name) & set("/\\"), f"name={self.name!r} is the name of a folder: no slashes")


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
        generate_bench(prepare_one("value_bench_generate", arguments[1:]).config)
        return
    store_command("value_bench", ValueBenchConfig, [{"critic": "wvm"}])
    measure_critics(prepare("value_bench", arguments))


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
    print(json.dumps({"name": bench.name, "folder": str(made), "numbers": bench.verdict, **facts}))


def measure_critics(critics: Sequence[Chosen]) -> None:
    """Every critic on the same trajectories; prints a table and, as the last line, JSON.

    Raises:
        UserError: the configurations differ in more than the critic.
    """
    configs: list[ValueBenchConfig] = [one.config for one in critics]
    first = configs[0]
    if any(_beside_critic(config) != _beside_critic(first) for config in configs):
        raise UserError("only critic and its settings may have several values: all are measured alike")
    artifacts = Artifacts(Path(first.outputs) / "artifacts")
    for config in configs:
        config.critic.check(examples(TaskConfig(PUBLISHED_TASKS[0], image_size=first.data.image_size)))
    bench = get_benchmark(artifacts, first.data)
    store = bench.open()
    infos = chosen(all_infos(store), first.measure)
    reference = headline(time_index(store, infos, first.measure))
    facts = _facts(bench, first.measure)
    named = list(zip(labels(critics), critics, strict=True))
    choices = {name: one.config.critic for name, one in named}
    ranked = rank_branches(artifacts, first.branches, first.branch, choices) if first.branches else {}
    results = []
    for name, one in named:
        summary = figures(artifacts, bench, store, infos, one.config)
        results.append({"critic": name, **facts, **summary, **_ranking(ranked, name)})
        folder = report_folder(one)
        _write(folder, one.config, results[-1], reference)
        print(f"report: {folder / 'report.md'}", file=sys.stderr)
    print(_caption(results[0], first.measure))
    rows = [headline(result) | _ranking(ranked, result["critic"]) for result in results]
    if len(results) == 1:
        print(metrics_table(group_columns(results[0], reference), [results[0]["subset"]]))
    else:
        columns = {f"{number}: {row['critic']}": row for number, row in enumerate(rows, start=1)}
        print(metrics_table(columns | {"time index": reference}, columns))
    if ranked:
        print(f"\n{branch_table(ranked, first.branch)}")
    print(json.dumps(rows[0] if len(rows) == 1 else {"rows": rows}))


def _beside_critic(config: ValueBenchConfig) -> list[Any]:
    """What has to be the same for all."""
    return [config.data, config.measure, config.branches, config.branch, config.outputs]


def _ranking(ranked: Mapping[str, BranchRankings], critic: str) -> dict[str, Any]:
    """How a critic ranks branches, where they were ranked."""
    return {"branch_ranking": ranked[critic], "branch_truth": ranked[TRUTH]} if ranked else {}


def label(one: Chosen) -> str:
    """The critic in a table of its own."""
    path = getattr(one.config.critic, "path", "")
    return one.names["critic"] + (f" {Path(path).name}" if path else "")


def labels(critics: Sequence[Chosen]) -> list[str]:
    """The critics beside one another: by name, and by those of their settings that vary."""
    if len(critics) == 1:
        return [label(critics[0])]
    told = [
        " ".join(f"{key.removeprefix('critic.')}={value}" for key, value in differ.items() if key != "critic")
        for differ in varied(critics, leave_out=["name"])
    ]
    return [f"{one.names['critic']} {settings}".strip() for one, settings in zip(critics, told, strict=True)]


def report_folder(one: Chosen) -> Path:
    """Where the report goes."""
    config: ValueBenchConfig = one.config
    branches = [config.branches, config.branch] if config.branches else []
    unique = digest([config.critic, config.data, config.measure, *branches])[:6]
    name = config.name or f"{label(one).replace(' ', '-').replace(':', '.')}-{unique}"
    return Path(config.outputs) / "value_bench" / name


def figures(
    artifacts: Artifacts,
    bench: Benchmark,
    store: Store,
    infos: Sequence[EpisodeInfo],
    config: ValueBenchConfig,
) -> dict[str, Any]:
    """The summary of one critic, whose values are labelled or found among the artifacts."""
    source = bench_critic(artifacts, config.critic, {f"{info.task}-{info.robot}" for info in infos})
    if source.file is not None:
        known = read_progress(source.file, store)
        values = {f"{BASE}/{info.index}": known[info.index] for info in infos}
    else:
        values = label_bench(artifacts, source, bench.digest, plan(store, infos, config.measure))
    return summarize(infos, values, store.fps, config.measure)


def time_index(store: Store, infos: Sequence[EpisodeInfo], measures: Measures) -> dict[str, Any]:
    """The summary of who only counts frames, to be seen beside every critic."""
    requests = [request for part in plan(store, infos, measures).values() for request in part]
    values = {request.name: np.linspace(0, 1, request.length, dtype=np.float32) for request in requests}
    return summarize(infos, values, store.fps, measures)


def _facts(bench: Benchmark, measures: Measures) -> dict[str, Any]:
    """What was measured on, and whether it is the benchmark."""
    return {
        "benchmark": bench.name,
        "complete": bench.name == NAME and measures.whole,
        "numbers": bench.verdict,
        "digest": bench.digest,
    }


def _caption(result: Mapping[str, Any], measures: Measures) -> str:
    """What the table is of."""
    if result["complete"]:
        what = (
            f"{result['benchmark']}, all trajectories, every frame; numbers of the set: {result['numbers']}"
        )
    elif result["benchmark"] == NAME:
        what = (
            f"PART of {NAME}: subset {measures.subset}, limit {measures.limit or 'none'}, every "
            f"{measures.every}. frame; not the benchmark's result"
        )
    else:
        what = f"{result['benchmark']}: not the benchmark, but a smaller or other set"
    return f"{what}. Means and 95 % bootstrap intervals (Rao and Wu) over trajectories."


def _write(
    folder: Path, config: ValueBenchConfig, result: Mapping[str, Any], reference: Mapping[str, Any]
) -> None:
    """bench.json and report.md."""
    settings = canonical(
        {"critic": config.critic, "data": config.data, "measure": config.measure}
        | ({"branches": config.branches, "branch": config.branch} if config.branches else {})
    )
    caption = [_caption(result, config.measure), f"```json\n{json.dumps(settings, indent=1)}\n```"]
    content = {**result, "time_index": reference, "settings": settings, "made_by": made_by()}
    text = markdown(f"Value benchmark: {result['critic']}", caption, result, reference)
    if config.branches:
        found = {result["critic"]: result["branch_ranking"], TRUTH: result["branch_truth"]}
        text += f"\n## Branches from one state\n\n{branch_table(found, config.branch)}\n"
    texts = {"bench.json": json.dumps(content, indent=1) + "\n", "report.md": text}
    for name, text in texts.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_text(text)


@command
def main() -> None:
    """The command line."""
    answer(run_value_bench, __doc__)


if __name__ == "__main__":
    main()
