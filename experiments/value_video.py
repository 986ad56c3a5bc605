"""See what a critic says: the value curve beside the video, with the true curve and the lapses where they are known.

    python -m experiments.value_video DATASET [episodes=[0,3]] [critic=wvm] [format=strip]
    python -m experiments.value_video workspace.mp4 wrist.mp4 instruction="stack the red cube on the green cube"
    python -m experiments.value_video film.mp4 instruction="…" critic=my_module:fn

DATASET is a LeRobot v3 folder. Video files are views of one event, in the order of the critic's cameras (the critic that
ships: workspace, wrist), or one file that already has them side by side. format=video writes an mp4, format=strip a
picture. The last line is JSON: the files written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

from envs.errors import UserError
from envs.store import Store, open_store
from envs.types import Episode
from experiments.choices.critics import CriticSource, pictures_critic, require_sight
from experiments.lab.artifacts import Artifacts
from experiments.reports.figures import ValueCurve, draw_film, draw_values
from experiments.reports.video_files import side_by_side
from experiments.settings.chosen import Chosen
from experiments.settings.cli import answer, prepare_one, words
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import require
from experiments.stages.fit import check_watched
from experiments.value_benchmark.critic import bench_critic
from value_model.critic.metrics.episodes import known_progress
from value_model.critic.progress import read_progress
from value_model.critic.stretches import stretches
from value_model.video.frames import beside

FORMATS = ("video", "strip")


@dataclass(frozen=True)
class ValueVideoConfig:
    """A critic, and how its values are shown."""

    critic: Any = MISSING
    instruction: str = ""  # what the robot was told to do; episodes of a data set have their own
    episodes: tuple[int, ...] = (0,)  # of a data set
    format: str = "video"  # or "strip"
    output: str = "outputs/value_video"
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        require(self.format in FORMATS, f"format={self.format} must be one of {', '.join(FORMATS)}")


@dataclass(frozen=True)
class Shown:
    """One video to be drawn. name: of the file; fps: of the frames."""

    name: str
    curve: ValueCurve
    fps: float


def value_video(arguments: Sequence[str]) -> None:
    """The command with its arguments.

    Raises:
        UserError: a mistake in them, or a video or data set that cannot be read. What was written before stays.
    """
    named = words(arguments)
    store_command("value_video", ValueVideoConfig, [{"critic": "wvm"}])
    settings = [argument for argument in arguments if argument not in named]
    chosen = prepare_one("value_video", settings)
    paths = [Path(word) for word in named]
    if not paths:
        raise UserError("say what to show: the folder of a LeRobot v3 data set, or video files")
    written: list[str] = []
    for shown in _shown(paths, chosen.config):
        written.append(str(_write(shown, chosen)))
        print(written[-1])
    print(json.dumps({"written": written}))


def _shown(paths: list[Path], config: ValueVideoConfig) -> Iterator[Shown]:
    folders = [path for path in paths if path.is_dir()]
    if folders and len(paths) > 1:
        raise UserError("give one data set, or the video files of one event")
    return _episodes(paths[0], config) if folders else iter([_video(paths, config)])


def _episodes(folder: Path, config: ValueVideoConfig) -> Iterator[Shown]:
    """The chosen episodes of a data set."""
    store = open_store(folder)
    for number in config.episodes:
        if not 0 <= number < len(store):
            raise UserError(f"{folder} has no episode {number}; its episodes go from 0 to {len(store) - 1}")
    infos = [store.episode_info(number) for number in config.episodes]
    check_watched(store, config.critic)
    values_of = _labeller(config, store, {f"{info.task}-{info.robot}" for info in infos})
    for info in infos:
        episode = store.episode(info.index)
        require(bool(episode.images), f"{folder} has no pictures")
        values = values_of(info.index, episode)
        frames = beside(list(episode.images.values()))
        title = f"{episode.instruction} ({episode.robot}, {episode.style})"
        curve = ValueCurve(title, frames, values, known_progress(episode), episode.segments)
        yield Shown(f"{folder.resolve().parent.name}_episode{info.index:04d}", curve, episode.fps)


def _labeller(
    config: ValueVideoConfig, store: Store, worlds: set[str]
) -> Callable[[int, Episode], np.ndarray]:
    """What gives the values of an episode of the store, by its number."""
    source = _source(config, worlds)
    if source.file is not None:
        known = read_progress(source.file, store)
        return lambda number, episode: known[number]
    critic = source.load()

    def labelled(number: int, episode: Episode) -> np.ndarray:
        return np.concatenate(list(critic.label(stretches(episode))))

    return labelled


def _video(paths: list[Path], config: ValueVideoConfig) -> Shown:
    """Video files, views of one event."""
    require(
        bool(config.instruction.strip()),
        'a video needs an instruction: instruction="what the robot is to do"',
    )
    require_sight(config.critic, "a film")
    frames, fps = side_by_side(paths)
    critic = pictures_critic(_source(config, set()).load(), "this critic")
    cameras = critic.cameras
    if len(paths) not in (1, len(cameras)):
        raise UserError(f"the critic sees {len(cameras)} view(s) ({', '.join(cameras)}), not {len(paths)}")
    values = critic.values(frames, config.instruction, fps)
    curve = ValueCurve(config.instruction, frames, values, None, ())
    return Shown(paths[0].stem, curve, fps)


def _source(config: ValueVideoConfig, worlds: set[str]) -> CriticSource:
    return bench_critic(Artifacts(Path(config.outputs) / "artifacts"), config.critic, worlds)


def _first_view(curve: ValueCurve) -> ValueCurve:
    """Of square views side by side only the first: a strip has no room for more."""
    height, width = curve.frames.shape[1:3]
    return replace(curve, frames=curve.frames[:, :, :height]) if width % height == 0 else curve


def _write(shown: Shown, chosen: Chosen) -> Path:
    """Draw one video or strip."""
    config: ValueVideoConfig = chosen.config
    folder = Path(config.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UserError(
            f"cannot make the folder {folder} ({error.strerror}); choose another output="
        ) from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write into {folder}; choose another output=")
    critic = chosen.names["critic"]
    if config.format == "strip":
        path = folder / f"{shown.name}.png"
        draw_values([_first_view(shown.curve)], critic, path)
    else:
        path = folder / f"{shown.name}.mp4"
        draw_film(shown.curve, critic, path, shown.fps)
    return path


@command
def main() -> None:
    """The command line."""
    answer(value_video, __doc__)


if __name__ == "__main__":
    main()
