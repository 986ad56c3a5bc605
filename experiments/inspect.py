"""A page to look at a data set: every episode's film strip with the value curve under it, sortable by quality.

    python -m experiments.inspect DATASET [critic=…] [out=page.html]
    python -m experiments.inspect DATASET keep.final=.5 keep.lapses=1 keep.cut=true keep.file=keep.json

DATASET is a LeRobot v3 folder. Its values are those of its own progress file (`python -m experiments.label`), or the
critic's; with values=false there are none. The page is one file that needs no network. It marks lapses, stretches in which
the value does not rise, and exports which episodes and segments to keep: for `lerobot-edit-dataset`, for our
`data.exclude`, and as JSON. keep.* says the same without a browser. rerun=FILE.rrd writes films, values and lapses for
Rerun's viewer. The last line is JSON: the files written, the
numbers of episodes and of lapses, and what is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

from envs.errors import UserError
from envs.files import atomic_file
from envs.store import EpisodeInfo, Store, open_store
from experiments.inspection.episodes import Quality, qualities, usual
from experiments.inspection.keep import Keep, kept_json
from experiments.inspection.page import write_page
from experiments.inspection.pictures import Sheets
from experiments.inspection.recording import require_rerun, write_recording
from experiments.inspection.rows import about, page_rows
from experiments.lab.progress import bar
from experiments.label import critic_source, data_set
from experiments.labelling.label import LABELS, value_curves
from experiments.settings.chosen import Chosen
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import require
from experiments.stages.fit import check_watched
from value_model.critic.progress import SIDECAR

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class InspectConfig:
    """A critic, what is shown, and what is good enough to keep."""

    critic: Any = MISSING
    values: bool = True  # false: films alone, no critic
    keep: Keep = field(default_factory=Keep)
    episodes: tuple[int, ...] = ()  # empty: all
    megabytes: float = 40.0  # that the pictures of the page may take
    rerun: str = ""  # a recording (.rrd) for Rerun's viewer beside the page; empty: none
    out: str = ""  # empty: inspect/<the folder's name>.html in outputs
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        require(self.megabytes >= 0, f"megabytes={self.megabytes} must not be negative")


def inspect(arguments: Sequence[str]) -> None:
    """The command with its arguments.

    Raises:
        UserError: a mistake in them, or a data set or critic that cannot be read.
    """
    store_command("inspect", InspectConfig, [{"critic": "wvm"}])
    folder, settings = data_set(arguments)
    chosen = prepare_one("inspect", [*_own_values(folder, settings), *settings])
    config: InspectConfig = chosen.config
    if config.rerun:
        require_rerun()
    store = open_store(folder)
    infos = [store.episode_info(number) for number in _numbers(store, config.episodes)]
    curves = _Curves(store, infos, config)
    common = usual(infos, curves)
    out = Path(config.out or Path(config.outputs) / "inspect" / f"{folder.resolve().name}.html")
    described: list[Quality] = []
    sheets = Sheets(round(config.megabytes * MEGABYTE), len(infos))
    with bar("draw", len(infos), "episodes") as shown:
        rows = page_rows(store, qualities(infos, curves, store.fps, common), config.keep, sheets, described)
        write_page(out, about(store, infos, _critic_name(chosen), config.keep), counted(rows, shown.update))
    written = [out]
    if config.rerun:
        films = (
            (quality, values, {camera: store.frames(quality.info.index, camera) for camera in store.cameras})
            for quality, values in zip(described, curves, strict=True)
        )
        write_recording(Path(config.rerun), folder.resolve().name, films)
        written.append(Path(config.rerun))
    kept = kept_json(folder, described, config.keep)
    if config.keep.file:
        with atomic_file(Path(config.keep.file)) as temporary:
            temporary.write_text(json.dumps(kept, indent=1) + "\n")
        written.append(Path(config.keep.file))
    _report(written, described, kept)


def counted(rows: Iterable[Any], step: Callable[[], object]) -> Iterator[Any]:
    """The rows as they pass, `step` called after each."""
    for row in rows:
        yield row
        step()


def _own_values(folder: Path, settings: Sequence[str]) -> list[str]:
    """The data set's own progress file as the critic, where there is one and none is chosen."""
    if any(word.startswith(("critic=", "critic.")) for word in settings) or not (folder / SIDECAR).is_file():
        return []
    return ["critic=sidecar", f"critic.path='{folder / SIDECAR}'"]


def _numbers(store: Store, chosen: Sequence[int]) -> Sequence[int]:
    for number in chosen:
        if not 0 <= number < len(store):
            raise UserError(
                f"{store.folder} has no episode {number}; its episodes go from 0 to {len(store) - 1}"
            )
    return sorted(set(chosen)) or range(len(store))


class _Curves:
    """The values of these episodes, NaN where there are none; read anew at each pass."""

    def __init__(self, store: Store, infos: Sequence[EpisodeInfo], config: InspectConfig) -> None:
        self._infos, self._curves = infos, None
        if config.values:
            check_watched(store, config.critic)
            outputs = Path(config.outputs)
            source = critic_source(config.critic, store, outputs)
            self._curves = value_curves(store, source, outputs / LABELS)

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._curves is None:
            return (np.full(info.length, np.nan, np.float32) for info in self._infos)
        wanted = {info.index for info in self._infos}
        return (values for number, values in enumerate(self._curves) if number in wanted)


def _critic_name(chosen: Chosen) -> str:
    if not chosen.config.values:
        return "no values"
    name = chosen.names["critic"]
    return (
        f"values of {Path(chosen.config.critic.path).name}"
        if name == "sidecar"
        else f"values of critic={name}"
    )


def _report(written: Sequence[Path], described: Sequence[Quality], kept: dict[str, Any]) -> None:
    for path in written:
        print(path)
    lapses = sum(len(quality.lapses) for quality in described)
    found = {"episodes": len(described), "lapses": lapses, "exclude": kept["exclude"]}
    print(json.dumps({"written": [str(path) for path in written], **found}))


@command
def main() -> None:
    """The command line."""
    answer(inspect, __doc__)


if __name__ == "__main__":
    main()
