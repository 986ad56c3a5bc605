"""Make a LeRobot v3 data set of recordings in other forms.

    python -m experiments.import_data demo.hdf5 out=FOLDER [mask=better] [render=true image_size=128]
    python -m experiments.import_data FILMS out=FOLDER instruction="fold the towel" [table=said.csv] [fps=5]
    python -m experiments.import_data DROID out=FOLDER [cameras=[left,right,wrist]] [state=[states]] [action=next_state]

A file of robosuite's or robomimic's (needs `pip install 'policy-extraction[hdf5]'`): its pictures, or its simulator states
drawn by the fast camera; its masks are kept (data.masks=[better]), better, okay and worse as the episodes' style. A folder
of films, one an episode, or of folders with several views each; table= is a CSV or parquet with the columns file,
instruction, success, style. Several at once make one data set. The last line is JSON: what was written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from envs.errors import UserError
from envs.store import Store, StoreWriter, open_store
from envs.store.video import find_codec
from experiments.imports.films import FilmRecordings
from experiments.imports.hdf5 import HDF5Recordings
from experiments.imports.source import Recordings, Wanted
from experiments.lab.progress import bar
from experiments.settings.cli import answer, prepare_one, words
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import require

HDF5 = (".hdf5", ".h5", ".hdf")
OUTCOMES = {"solved": True, "failed": False, "unknown": None}


@dataclass(frozen=True)
class ImportConfig:
    """Where the data set goes, and what the recordings do not say themselves."""

    out: str = ""  # the new data set's folder
    instruction: str = ""  # what the robot was told; empty: as recorded
    robot: str = ""  # its name; empty: as recorded
    fps: float = 0.0  # pictures a second; 0: as recorded
    cameras: tuple[str, ...] = ()  # names of a film's views, in the order of its files
    table: str = ""  # of films: file, instruction, success, style
    mask: str = ""  # of HDF5: only the demonstrations of this mask; empty: all
    state: tuple[str, ...] = ()  # names of the numbers that are the robot's state; empty: those of its hand
    action: str = (
        ""  # of films: name of the numbers that are its actions; next_state: where its state comes to
    )
    render: bool = False  # of HDF5: draw the states although there are pictures
    image_size: int = 64  # of drawn pictures, square
    codec: str = "h264"  # or h264_lossless, which keeps every pixel and any size

    def __post_init__(self) -> None:
        require(bool(self.out), "say where the data set goes: out=FOLDER")
        require(self.fps >= 0, f"fps={self.fps} must be positive, or 0 for what was recorded")
        require(32 <= self.image_size <= 512, f"image_size={self.image_size} must be between 32 and 512")
        find_codec(self.codec)


def import_data(arguments: Sequence[str]) -> None:
    """The command with its arguments.

    Raises:
        UserError: a mistake in them, or recordings that cannot be read; then nothing is written.
    """
    named = words(arguments)
    store_command("import_data", ImportConfig)
    config: ImportConfig = prepare_one("import_data", [one for one in arguments if one not in named]).config
    if not named:
        raise UserError("say what to import: an HDF5 file, or a folder of films")
    sources = [recordings(Path(word), config) for word in named]
    store = write(sources, Path(config.out), config.codec)
    infos = [store.episode_info(index) for index in range(len(store))]
    known = {name: sum(info.success is value for info in infos) for name, value in OUTCOMES.items()}
    held = {"state": len(store.spec.state), "action": len(store.spec.action)}
    said = {"cameras": store.cameras, "fps": store.fps, **held}
    print(
        json.dumps(
            {"data": config.out, "episodes": len(store), "frames": store.total_frames, **known, **said}
        )
    )


def write(sources: Sequence[Recordings], out: Path, codec: str) -> Store:
    """The episodes of all recordings as one data set, which appears when it is whole.

    Raises:
        UserError: a recording cannot be read, or differs from the first, or the folder is taken.
    """
    with StoreWriter(out, codec) as writer, bar("import", sum(map(len, sources)), "episodes") as shown:
        for episode in chain.from_iterable(sources):
            writer.add(episode)
            shown.update()
    return open_store(out)


def recordings(path: Path, config: ImportConfig) -> Recordings:
    """The episodes in a file or folder.

    Raises:
        UserError: it is none that can be read, or does not say what is needed.
    """
    wanted = Wanted(
        instruction=config.instruction,
        robot=config.robot,
        fps=config.fps,
        cameras=config.cameras,
        table=config.table,
        render=config.render,
        image_size=config.image_size,
        mask=config.mask,
        state=config.state,
        action=config.action,
    )
    if path.is_dir():
        if (path / "meta" / "info.json").is_file():
            raise UserError(f"{path} is a LeRobot data set already: use it by data=store data.path={path}")
        return FilmRecordings(path, wanted)
    if not path.is_file():
        raise UserError(f"no such file or folder: {path}")
    if path.suffix.lower() not in HDF5:
        raise UserError(
            f"{path} is neither a folder of films nor an HDF5 file ({', '.join(HDF5)}); give one of them"
        )
    return HDF5Recordings(path, wanted)


@command
def main() -> None:
    """The command line."""
    answer(import_data, __doc__)


if __name__ == "__main__":
    main()
