"""What is known of a data set and of its episodes before any frame is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envs.types import Segment


@dataclass(frozen=True)
class EpisodeInfo:
    """What is known of an episode without reading its frames.

    index: its place among those that are read; number: its number in the data set; start: index of its first frame in
    the whole data set; instructions: (frame, what the robot was told from there on), the first at frame 0; success:
    whether it solved the task, None where that was not recorded (see `Store.episode_info`); seed: -1 where it is not
    known; style, task and robot: "unknown"; masks: names of the subsets of the data set that it belongs to.
    """

    index: int
    number: int
    start: int
    length: int
    instructions: tuple[tuple[int, str], ...]
    task: str
    robot: str
    seed: int
    style: str
    success: bool | None
    segments: tuple[Segment, ...]
    masks: tuple[str, ...]

    @property
    def instruction(self) -> str:
        """What the robot was told at first."""
        return self.instructions[0][1]


@dataclass(frozen=True)
class DatasetSpec:
    """What a data set holds, to be compared with what reads it.

    cameras: {name: (height, width)}; state, action: names of their columns, empty where there is none; rate: frames a
    second; numbers: {feature: columns} of all that could be a state or an action.
    """

    folder: Path
    cameras: Mapping[str, tuple[int, int]]
    state: tuple[str, ...]
    action: tuple[str, ...]
    rate: float
    numbers: Mapping[str, int]
