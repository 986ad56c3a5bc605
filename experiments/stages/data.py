"""Stage `collect`: demonstrations by scripted experts; or a data set of the user's own, checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envs.collect import collect
from envs.files import atomic_file
from envs.store import Reading, Store, open_store
from envs.store.reading import EVERYTHING
from envs.types import Episode
from experiments.lab.artifacts import Artifacts, digest, file_digest
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import Purpose, first_seed
from experiments.settings.config import MixtureData, StoreData, TaskConfig

VERSION = 1
CAMERAS = ("workspace", "wrist")


@dataclass(frozen=True)
class Data:
    """A data set on disk and the digest of its content.

    stride: frames from one that shows something new to the next; seconds: that it took to make, None if not made here.
    """

    folder: Path
    digest: str
    report: Mapping[str, Any]
    reading: Reading = EVERYTHING
    stride: int = 1
    seconds: float | None = None

    def open(self) -> Store:
        """The store."""
        return open_store(self.folder, self.reading)

    def numbers(self) -> Iterator[Episode]:
        """All episodes without their pictures."""
        store = self.open()
        return (store.episode(index, cameras=()) for index in range(len(store)))


def get_data(artifacts: Artifacts, task: TaskConfig, data: MixtureData | StoreData) -> Data:
    """What the policy is extracted from."""
    if isinstance(data, StoreData):
        return user_data(data.folder, data.reading)
    return collect_data(artifacts, task, data.styles, "policy_data", data.seed)


def collect_data(
    artifacts: Artifacts, task: TaskConfig, styles: Mapping[str, int], purpose: Purpose, seed: int
) -> Data:
    """Demonstrations of a task in several styles, with seeds of their purpose's range."""

    def build(folder: Path) -> None:
        with bar(f"collect {purpose.replace('_', ' ')}", sum(styles.values()), "episodes") as shown:
            report = collect(
                folder / "data",
                task.name,
                task.robot,
                styles=styles,
                seed=first_seed(purpose, seed),
                cameras=CAMERAS,
                image_size=task.image_size,
                progress=shown.update,
            )
        with atomic_file(folder / "report.json") as temporary:
            temporary.write_text(json.dumps(asdict(report), indent=1))

    recipe = {"task": task, "styles": dict(sorted(styles.items())), "purpose": purpose, "seed": seed}
    made = announce(artifacts.make("collect", VERSION, recipe, {}, build), purpose.replace("_", " "))
    report = json.loads((made.folder / "report.json").read_text())
    return Data(made.folder / "data", made.digest, report, seconds=made.seconds)


def user_data(folder: Path, reading: Reading = EVERYTHING) -> Data:
    """A LeRobot folder of the user's own, as it is.

    Its digest covers the content of `meta` and of the user's table of outcomes, the names, sizes and times of all other
    files that it may be read from, and how it is read. Labels and weights that lie beside its folders do not count.

    Raises:
        UserError: it is no whole LeRobot data set, or has not what `reading` names.
    """
    store = open_store(folder, reading)
    inside = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = sorted(file for file in inside if not _beside(file))
    facts = [[str(file), *_facts(folder / file, content=file.parts[0] == "meta")] for file in files]
    if reading != EVERYTHING:
        table = file_digest(Path(reading.outcomes)) if reading.outcomes else ""
        facts.append([asdict(reading) | {"outcomes": table}])
    return Data(folder, digest(facts), {"frames": store.total_frames}, reading)


def _beside(file: Path) -> bool:
    """Whether nothing of the recordings is in this file of the folder: `label` puts its tables there."""
    return file.parts[0].startswith(".") or (len(file.parts) == 1 and file.suffix == ".parquet")


def _facts(file: Path, content: bool) -> list[str | int]:
    if content:
        return [file_digest(file)]
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]
