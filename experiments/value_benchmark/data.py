"""Stage `value_bench_data`: the value benchmark as one LeRobot folder, made from its seeds, and checked when opened."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.errors import UserError
from envs.files import atomic_file, atomic_folder, inside
from envs.store import EpisodeInfo, Store, merge_stores, open_store
from envs.store.writer import refuse_existing
from experiments.lab.artifacts import Artifacts, digest
from experiments.lab.progress import announce
from experiments.settings.config import TaskConfig
from experiments.stages.data import VERSION as COLLECT_VERSION
from experiments.stages.data import Data, collect_data
from experiments.value_benchmark.card import card
from experiments.value_benchmark.episodes import NAME, BenchData
from value_model.critic.metrics.episodes import true_progress

VERSION = 2
DIGESTS, CARD = "digests.json", "README.md"
PUBLISHED = Path(__file__).with_name("numbers.json")  # numeric digests of the published benchmark
CHECKED_FOLDERS = ("meta", "data", "videos")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark folder that has been checked.

    name: whose; facts: what its digests.json says; digest: of all its files but the card.
    """

    folder: Path
    name: str
    digest: str
    facts: Mapping[str, Any]

    def open(self) -> Store:
        """The store."""
        return open_store(self.folder)

    @property
    def verdict(self) -> str:
        """Whether the numbers (actions, states, segments) are those of the published set: `match`, or what is not.

        Another kind of processor may round otherwise, and the trajectories drift apart.
        """
        if self.name != NAME:
            return "another set"
        published = json.loads(PUBLISHED.read_text())
        other = sorted(name for name in published if published[name] != self.facts["numbers"].get(name))
        return f"differ from the published ones in {', '.join(other)}" if other else "match"


def get_benchmark(artifacts: Artifacts, data: BenchData) -> Benchmark:
    """The benchmark in the folder of the user's, or the one made from these settings, checked file by file.

    Raises:
        UserError: a file of it is missing or changed.
    """
    return open_benchmark(Path(data.path) if data.path else generate(artifacts, data))


def generate(artifacts: Artifacts, data: BenchData) -> Path:
    """Make the data set, or find it; every combination of task and robot is an artifact of its own.

    Raises:
        UserError: an expert cannot do it, or the disk is full.
    """
    recipe = {
        "name": data.name,
        "image_size": data.image_size,
        "parts": [[one.name, data.styles(one), data.run_seed(one)] for one in data.chosen],
        "collect": COLLECT_VERSION,
    }

    def build(folder: Path) -> None:
        parts = list(_collected(artifacts, data))
        merge_stores([part.folder for part in parts], folder / "data")
        _finish(folder / "data", data, parts)

    return announce(artifacts.make("value_bench_data", VERSION, recipe, {}, build)).folder / "data"


def _collected(artifacts: Artifacts, data: BenchData) -> Iterator[Data]:
    """The demonstrations of every combination."""
    for number, combination in enumerate(data.chosen, start=1):
        print(f"[{number}/{len(data.chosen)}] {combination.name}", file=sys.stderr)
        task = TaskConfig(combination.task, combination.robot, data.image_size)
        seed = data.run_seed(combination)
        yield collect_data(artifacts, task, data.styles(combination), "value_bench", seed)


def export(folder: Path, target: Path) -> None:
    """Copy a benchmark to where the user wants it; whole or not at all.

    Raises:
        UserError: there is something already, or the disk is full.
    """
    refuse_existing(target)
    with atomic_folder(target) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True)


def open_benchmark(folder: Path) -> Benchmark:
    """Check every file of a benchmark against its digests.

    Raises:
        UserError: there is no benchmark, or a file of it is missing, changed or not its own.
    """
    path = folder / DIGESTS
    if not path.is_file():
        raise UserError(f"{folder} is no value benchmark: {DIGESTS} is missing; check data.path")
    try:
        facts = json.loads(path.read_text())
        name, files = str(facts["name"]), dict(facts["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); download or generate the benchmark again") from error
    for file in files:
        inside(folder, file)
    found = set(_files(folder))
    for wrong, what in ((set(files) - found, "missing"), (found - set(files), "not a file of the benchmark")):
        if wrong:
            raise UserError(f"{folder / min(wrong)} is {what}; download or generate the benchmark again")
    for file, digest_of_file in _sha256(folder, files).items():
        if digest_of_file != files[file]:
            raise UserError(f"{folder / file} has been changed; download or generate the benchmark again")
    content = {file: of for file, of in files.items() if file != CARD}
    return Benchmark(folder, name, digest(content), facts)


def numeric_digests(store: Store) -> dict[str, str]:
    """{combination: 16 digits} of all that is no picture: what each trajectory is, its actions, states and rewards."""
    totals: dict[str, Any] = {}
    for index in range(len(store)):
        episode = store.episode(index, cameras=())
        total = totals.setdefault(f"{episode.task}-{episode.robot}", hashlib.sha256())
        segments = [[segment.kind, segment.start, segment.end] for segment in episode.segments]
        facts = [episode.style, episode.seed, episode.success, episode.instruction, len(episode), segments]
        total.update(json.dumps(facts).encode())
        for numbers in (episode.actions, episode.proprio, episode.environment_state, episode.rewards):
            total.update(numbers.astype("<f4").tobytes())
    return {name: total.hexdigest()[:16] for name, total in sorted(totals.items())}


def _finish(folder: Path, data: BenchData, parts: Sequence[Data]) -> None:
    """Check the trajectories' true curves, write the card, and last the digests of everything."""
    store = open_store(folder)
    infos = [store.episode_info(index) for index in range(len(store))]
    _check_curves(infos)
    redraws = sum(sum(part.report["redraws"].values()) for part in parts)
    (folder / CARD).write_text(card(data, store, infos, redraws))
    facts = {
        "name": data.name,
        "episodes": len(infos),
        "frames": store.total_frames,
        "styles": dict(sorted(Counter(info.style for info in infos).items())),
        "redraws": redraws,
        "numbers": numeric_digests(store),
        "files": _sha256(folder, _files(folder)),
    }
    with atomic_file(folder / DIGESTS) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n")


def _check_curves(infos: Sequence[EpisodeInfo]) -> None:
    for info in infos:
        try:
            true_progress(info.length, info.segments)
        except UserError as error:
            raise UserError(
                f"{info.task}-{info.robot}, seed {info.seed}: {error}; choose another seed"
            ) from error


def _files(folder: Path) -> Iterator[str]:
    """Every file of the data set: the card, and all in its folders."""
    if (folder / CARD).is_file():
        yield CARD
    for name in CHECKED_FOLDERS:
        yield from sorted(
            str(path.relative_to(folder)) for path in (folder / name).rglob("*") if path.is_file()
        )


def _sha256(folder: Path, files: Iterator[str] | Mapping[str, str]) -> dict[str, str]:
    """{file: SHA-256}, on all cores."""

    def of(name: str) -> tuple[str, str]:
        with open(folder / name, "rb") as opened:
            return name, hashlib.file_digest(opened, "sha256").hexdigest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(pool.map(of, files))
