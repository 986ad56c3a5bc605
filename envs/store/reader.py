"""Reading a LeRobot data set, ours or anyone's, one episode at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from envs.errors import UserError
from envs.films import frames_at
from envs.outcomes import outcome_rewards, paid_outcome, tell_only_success
from envs.store import layout
from envs.store.depth import picture_size
from envs.store.open import Metadata, load_metadata
from envs.store.outcomes import Verdict, outcome
from envs.store.parquet import RowReader, flat_numbers
from envs.store.pictures import read_pictures
from envs.store.reading import EVERYTHING, Reading, column_names, number_features, width
from envs.store.spec import DatasetSpec, EpisodeInfo
from envs.store.versions import Layout
from envs.types import Episode, Segment


class Store:
    """A LeRobot data set that `open_store` has checked. `len(store)` is the number of episodes to be read."""

    def __init__(self, folder: Path, metadata: Metadata, reading: Reading = EVERYTHING) -> None:
        self.folder = folder
        self.info = metadata.info
        self._metadata = metadata
        self.reading = reading
        self._data = RowReader()

    @property
    def fps(self) -> float:
        """Frames a second."""
        return float(self.info["fps"])

    @property
    def total_frames(self) -> int:
        """Frames of all episodes that are read."""
        return int(self._metadata.rows.lengths[self._metadata.chosen].sum())

    @property
    def recorded_frames(self) -> int:
        """Frames of the whole data set, episodes that are left out included."""
        return int(self._metadata.rows.lengths.sum())

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, sorted."""
        return tuple(sorted(self._metadata.cameras))

    @property
    def layout(self) -> Layout:
        """Where its files lie."""
        return self._metadata.layout

    @property
    def tasks(self) -> dict[int, str]:
        """{task index: instruction}, as recorded."""
        return dict(self._metadata.tasks)

    @property
    def spec(self) -> DatasetSpec:
        """What it holds."""
        features, known = self.info["features"], self._metadata
        return DatasetSpec(
            folder=self.folder,
            cameras={name: picture_size(features[key]) for name, key in sorted(known.cameras.items())},
            state=column_names(features[known.state]) if known.state else (),
            action=column_names(features[known.action]) if known.action else (),
            rate=self.fps,
            numbers={name: width(features[name]) for name in number_features(features)},
        )

    def __len__(self) -> int:
        return len(self._metadata.chosen)

    def __iter__(self) -> Iterator[Episode]:
        return (self.episode(index) for index in range(len(self)))

    def episode_info(self, index: int) -> EpisodeInfo:
        """What is known of episode `index` without reading its pictures.

        Its outcome is taken from the first of these that says it: the user's table (`Reading.outcomes`); the feature
        that the user named; a column `success` in meta/episodes (null is unknown); frames marked `next.success`; and
        `next.reward`, where all rewards of the data set are 0 or one positive number and some episode is paid at its
        end (see `envs.outcomes.paid_outcome`). Rewards that say more (distances, progress) or are 0 throughout do not
        tell an outcome. Where nothing does, it is unknown, or with `Reading.assume_success` a success.

        Raises:
            UserError: the column `success` holds something else than true, false and null; see `table`.
        """
        row, position = self.row(index), self.position(index)
        verdict = self._verdict(position)
        return EpisodeInfo(
            index=index,
            number=int(self._metadata.numbers[position]),
            start=int(self._metadata.rows.starts[position]),
            length=int(self._metadata.rows.lengths[position]),
            instructions=self._instructions(position, row),
            task=row.get("task_name") or "unknown",
            robot=row.get("robot") or self.info.get("robot_type") or "unknown",
            seed=-1 if row.get("seed") is None else row["seed"],
            style=verdict.style or row.get("style") or "unknown",
            success=self._outcome(index, row, verdict),
            segments=verdict.segments or tuple(Segment(**part) for part in row.get("segments") or ()),
            masks=tuple(row.get("masks") or ()),
        )

    def episode(self, index: int, cameras: Sequence[str] | None = None) -> Episode:
        """Episode `index`, with the frames of `cameras` (default: all; none is much faster).

        Rewards are those that were recorded. Where none were, a known outcome pays 1 or 0 at the last frame and 0
        before, and an unknown one NaN throughout. Where there is no action or no state, they have no columns.

        Raises:
            UserError: its files are damaged, or it holds infinite values, or NaN elsewhere than in its rewards.
        """
        info, known = self.episode_info(index), self._metadata
        own = {name for name in (layout.ENVIRONMENT_STATE, layout.REWARD) if name in self.info["features"]}
        wanted = sorted(own | {name for name in (known.action, known.state) if name})
        table = self.table(index, wanted)
        numbers = {name: self._finite(table, name, info.number) for name in wanted}
        nothing = np.zeros((info.length, 0), np.float32)
        return Episode(
            images={
                name: self.frames(index, name) for name in (self.cameras if cameras is None else cameras)
            },
            proprio=numbers.get(known.state or "", nothing),
            actions=numbers.get(known.action or "", nothing),
            rewards=(
                numbers[layout.REWARD][:, 0]
                if layout.REWARD in numbers
                else outcome_rewards(info.length, info.success)
            ),
            environment_state=numbers.get(layout.ENVIRONMENT_STATE, nothing),
            success=info.success,
            task=info.task,
            instruction=info.instruction,
            robot=info.robot,
            seed=info.seed,
            fps=self.fps,
            style=info.style,
            segments=info.segments,
            later=info.instructions[1:],
            masks=info.masks,
        )

    def frames(self, index: int, camera: str) -> np.ndarray:
        """The frames of one camera in episode `index`, each the nearest to its time stamp: uint8 [T, H, W, 3].

        Raises:
            UserError: there is no such camera, or its files are damaged.
        """
        key = self.camera_key(camera)
        if self.info["features"][key]["dtype"] == "image":
            return read_pictures(self.table(index, [key]).column(key), self.folder, key)
        footage = self.layout.footage(self.position(index), key)
        times = footage.start + self._times(index)
        return np.stack(list(frames_at(footage.path, times, 0.5 / self.fps)))

    def camera_key(self, camera: str) -> str:
        """The feature of `meta/info.json` that a camera's frames are.

        Raises:
            UserError: there is no such camera.
        """
        if camera not in self._metadata.cameras:
            raise UserError(
                f"{self.folder} has no camera {camera!r}; it has {', '.join(self.cameras) or 'none'}"
            )
        return self._metadata.cameras[camera]

    def position(self, index: int) -> int:
        """The place of episode `index` among all episodes of the data set."""
        if not 0 <= index < len(self):
            raise IndexError(f"episode {index} of {len(self)}")
        return int(self._metadata.chosen[index])

    def row(self, index: int) -> dict[str, Any]:
        """What the metadata say of episode `index`, without statistics."""
        return self.layout.episodes.slice(self.position(index), 1).to_pylist()[0]

    def table(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Columns of the data files: the rows of episode `index`, in the order of its frames."""
        rows = self._metadata.rows.rows(self.position(index))
        wanted = set(columns) if rows.ordered else {*columns, "frame_index"}
        if not wanted:
            return pa.table({})
        table = self._data.read(rows.path, rows.first, rows.count, sorted(wanted))
        if not rows.ordered:
            table = table.sort_by("frame_index")
        return table.select(list(columns))

    def _times(self, index: int) -> np.ndarray:
        """The time of every frame in its episode, seconds [T]."""
        features = self.info["features"]
        if "timestamp" in features:
            return self.table(index, ["timestamp"]).column("timestamp").to_numpy().astype(np.float64)
        return np.arange(self._metadata.rows.lengths[self.position(index)]) / self.fps

    def _instructions(self, position: int, row: dict[str, Any]) -> tuple[tuple[int, str], ...]:
        """See `EpisodeInfo`: by the frames' task index, else by the tasks that meta/episodes names."""
        known = self._metadata
        if known.instruction:
            return ((0, known.instruction),)
        changes = known.rows.rows(position).tasks
        unknown = [task for _, task in changes if task not in known.tasks]
        if unknown:
            raise UserError(
                f"episode {known.numbers[position]} of {self.folder} has the task {unknown[0]}, which its tasks do not "
                'name; record it again, or say what the robot was told: data.instruction="…"'
            )
        if changes:
            return tuple((frame, known.tasks[task]) for frame, task in changes)
        return ((0, row["tasks"][0] if row.get("tasks") else ""),)

    def _finite(self, table: pa.Table, name: str, number: int) -> np.ndarray:
        values = flat_numbers(table, name)
        wrong = np.isinf(values) if name == layout.REWARD else ~np.isfinite(values)
        if wrong.any():
            frame = int(np.argwhere(wrong)[0, 0])
            raise UserError(
                f"{name} of episode {number} in {self.folder} is not finite at frame {frame}; "
                f"leave it out: data.exclude=[{number}]"
            )
        return values

    def _verdict(self, position: int) -> Verdict:
        verdicts = self._metadata.verdicts or {}
        return verdicts.get(int(self._metadata.numbers[position]), Verdict())

    def _outcome(self, index: int, row: dict[str, Any], verdict: Verdict) -> bool | None:
        """See `episode_info`: the user's table, the recording, or what is assumed."""
        found = self._success(index, row) if verdict.success is None else verdict.success
        return True if found is None and self._metadata.assume_success else found

    def _success(self, index: int, row: dict[str, Any]) -> bool | None:
        """See `episode_info`."""
        name = self._metadata.success
        if "success" in row and (name is None or name == layout.SUCCESS):
            return outcome(row["success"], f"meta/episodes of {self.folder}, episode {row['episode_index']}")
        if name:
            marks = flat_numbers(self.table(index, [name]), name)
            return True if (marks == 1).any() else None if np.isnan(marks).any() else False
        return paid_outcome(self._rewards(index)) if self._success_is_paid else None

    @cached_property
    def _success_is_paid(self) -> bool:
        """Whether `next.reward` tells who solved the task; read once, for the whole data set."""
        if layout.REWARD not in self.info["features"]:
            return False
        rewards = [self._rewards(index) for index in range(len(self))]
        return tell_only_success(rewards) and any(part[-1] > 0 for part in rewards)

    def _rewards(self, index: int) -> np.ndarray:
        """The recorded rewards of episode `index`: float32 [T]."""
        number = int(self._metadata.numbers[self.position(index)])
        return self._finite(self.table(index, [layout.REWARD]), layout.REWARD, number)[:, 0]


def open_store(folder: Path, reading: Reading = EVERYTHING) -> Store:
    """Check a LeRobot data set of version 2.0, 2.1 or 3.0 and open it.

    Raises:
        UserError: it is missing, empty, damaged, of another version, a file that it names is missing, or it has not
            what `reading` names.
    """
    return Store(folder, load_metadata(folder, reading), reading)
