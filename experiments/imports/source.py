"""What the importers have in common: what a user may say of recordings, and how an episode is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from envs.errors import UserError
from envs.outcomes import outcome_rewards
from envs.types import Episode


@dataclass(frozen=True)
class Wanted:
    """What the user says of the recordings.

    instruction: what the robot was told, "" for what they say; robot: its name; fps: pictures a second of a film, 0 for
    what its time stamps say; cameras: names of the views, in the order that they lie in; table: of episodes (see
    `experiments.imports.films`); render, image_size: draw states anew, in this many pixels; mask: of which subset;
    state: which numbers are the robot's state; action: which a film's actions are.
    """

    instruction: str = ""
    robot: str = ""
    fps: float = 0.0
    cameras: tuple[str, ...] = ()
    table: str = ""
    render: bool = False
    image_size: int = 64
    mask: str = ""
    state: tuple[str, ...] = ()
    action: str = ""


class Recordings(Protocol):
    """Recordings that can be imported; `len` is the number of episodes."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Episode]: ...


@dataclass(frozen=True)
class Numbers:
    """The numbers of one recording. state, actions: float32 [T, …]; rewards: float32 [T] or None, not recorded;
    privileged: float32 [T, S], what only a simulator knows.
    """

    state: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray | None = None
    privileged: np.ndarray | None = None


def episode(
    images: dict[str, np.ndarray],
    numbers: Numbers,
    success: bool | None,
    told: tuple[str, str, str],
    fps: float,
    style: str = "unknown",
    masks: tuple[str, ...] = (),
) -> Episode:
    """An episode of T frames; told: its task, instruction and robot."""
    length = len(numbers.actions)
    privileged = np.zeros((length, 0), np.float32) if numbers.privileged is None else numbers.privileged
    rewards = outcome_rewards(length, success) if numbers.rewards is None else numbers.rewards
    task, instruction, robot = told
    return Episode(
        images=images,
        proprio=numbers.state,
        actions=numbers.actions,
        rewards=rewards.astype(np.float32),
        environment_state=privileged,
        success=success,
        task=task,
        instruction=instruction,
        robot=robot,
        seed=-1,
        fps=fps,
        style=style,
        masks=masks,
    )


def rows(values: object, length: int, what: str) -> np.ndarray:
    """Numbers float32 [T, D] of a recording of T frames.

    Raises:
        UserError: there are more or fewer rows, or they are no numbers.
    """
    try:
        array = np.asarray(values, np.float32)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{what} holds no table of numbers ({error}); leave it out or record it again"
        ) from error
    array = array.reshape(len(array), -1) if array.ndim else array[None, None]
    if len(array) != length:
        raise UserError(f"{what} has {len(array)} rows for {length} frames; leave it out or record it again")
    return array


def require_instruction(text: str, place: str) -> str:
    """The instruction of an episode.

    Raises:
        UserError: there is none.
    """
    if not text.strip():
        raise UserError(
            f'{place} does not say what the robot was told; add instruction="…", or a table with a column instruction'
        )
    return text.strip()
