"""What experience is: observations, segments and episodes, as plain numpy.

Dimension letters: B batch, T time, H action horizon (image height where a shape is [.., H, W, 3]), A action,
P proprioception, S privileged simulator state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from envs.pictures import Images, picked

Style = Literal["clean", "noisy", "slow", "hesitation", "retry", "detour", "failure"]
STYLES: tuple[Style, ...] = ("clean", "noisy", "slow", "hesitation", "retry", "detour", "failure")


@dataclass(frozen=True)
class Observation:
    """What a policy sees at B instants.

    images: {camera name: uint8 [B, H, W, 3]}; proprio: float32 [B, P]; instruction: B sentences; seen: what eyes that
    an environment knows would make of the pictures, {digest of the eyes: float32 [B, D]}.
    """

    images: Images
    proprio: np.ndarray
    instruction: tuple[str, ...]
    seen: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.proprio)

    def __getitem__(self, index: slice | np.ndarray) -> Observation:
        """The instants at `index` (a slice or an integer array [K])."""
        rows = np.arange(len(self))[index]
        return Observation(
            images=picked(self.images, rows),
            proprio=self.proprio[rows],
            instruction=tuple(self.instruction[row] for row in rows),
            seen={eyes: features[rows] for eyes, features in self.seen.items()},
        )


@dataclass(frozen=True)
class Segment:
    """A suboptimal stretch of an episode; `start` and `end` are inclusive frame indices (m and n of the benchmark)."""

    kind: Literal["hesitation", "retry"]
    start: int
    end: int


@dataclass(frozen=True)
class Episode:
    """One attempt at a task: T frames; at frame t the robot saw `observation[t]` and executed `actions[t]`.

    There is no observation after the last action, as in LeRobot's format: the last frame is the last decision.

    images: {camera: uint8 [T, H, W, 3]}; proprio: float32 [T, P]; actions: float32 [T, A] in [-1, 1];
    rewards: float32 [T], what `actions[t]` earned, NaN where that was not recorded (of our environments: 1 at every
    step that ends in a solved state, else 0); success: whether the task was solved, None where that was not recorded;
    environment_state: float32 [T, S], privileged (positions of the task's objects, metres), empty S when unknown;
    fps: frames a second; style and segments say what kind of demonstration it was, when that is known; later: (frame,
    what the robot was told from there on), where that is not `instruction` to the end; masks: names of the subsets of
    its data set that it belongs to.
    """

    images: Mapping[str, np.ndarray]
    proprio: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    environment_state: np.ndarray
    success: bool | None
    task: str
    instruction: str
    robot: str
    seed: int
    fps: float
    style: str = "unknown"
    segments: tuple[Segment, ...] = ()
    later: tuple[tuple[int, str], ...] = ()
    masks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def told(self) -> tuple[str, ...]:
        """What the robot was told, at each of the T frames."""
        starts = [0, *(frame for frame, _ in self.later), len(self)]
        texts = (self.instruction, *(text for _, text in self.later))
        return tuple(
            text
            for text, (start, end) in zip(texts, pairwise(starts), strict=True)
            for _ in range(start, end)
        )

    @property
    def observations(self) -> Observation:
        """All T observations."""
        return Observation(self.images, self.proprio, self.told)
