"""Critics from outside: whatever gives values becomes a critic at work, and each of its answers is checked.

A function (frames uint8 [T, H, W · cameras, 3], instruction) -> [T]; an object with that as `values`; or an object with
`label(episodes)`, which reads whole episodes. A function or `values` with a parameter `fps` is told the frames a second.
"""

from __future__ import annotations

import inspect
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.types import Episode
from value_model.critic.types import TrainedCritic
from value_model.video.frames import resize, watch

# What a mistake in a user's code raises; what else it raises keeps its traceback.
FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
NO_NUMBERS = "OSUcmM"  # kinds of arrays: objects, texts, complex numbers, times


@dataclass(frozen=True)
class OutsideReader:
    """A user's object that labels whole episodes.

    cameras: whose frames it looks at, of a store; None: all.
    """

    thing: Any
    name: str
    cameras: tuple[str, ...] | None

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] in [0, 1] of each episode, in order.

        Raises:
            UserError: the user's code failed, or gave too few or too many answers, or one that is none.
        """
        return _labelled(self.thing.label, watch(episodes, self.cameras), self.name)

    def save(self, folder: Path) -> None:
        """Let it write itself into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.thing.save(folder)


@dataclass(frozen=True)
class OutsideSeer:
    """A user's function of pictures, or an object with `values`; if it has `label` too, that is for whole episodes."""

    thing: Any
    name: str
    cameras: tuple[str, ...]

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] in [0, 1] of each episode, in order.

        Raises:
            UserError: an episode lacks a camera; the user's code failed, or gave what is no answer.
        """
        watched = watch(episodes, self.cameras)
        if callable(getattr(self.thing, "label", None)):
            yield from _labelled(self.thing.label, watched, self.name)
            return
        for number, episode in enumerate(watched):
            frames = side_by_side(episode, self.cameras, self.name)
            yield self._asked(frames, episode.instruction, episode.fps, f" in episode {number}")

    def values(self, frames: np.ndarray, instruction: str, fps: float | None = None) -> np.ndarray:
        """Values float32 [T] in [0, 1] of one video uint8 [T, H, W · cameras, 3].

        Raises:
            UserError: the user's code failed, or gave no numbers, a wrong shape, or values outside [0, 1] or not finite.
        """
        return self._asked(frames, instruction, fps, "")

    def save(self, folder: Path) -> None:
        """Let it write itself into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.thing.save(folder)

    def _asked(self, frames: np.ndarray, instruction: str, fps: float | None, place: str) -> np.ndarray:
        function = value_function(self.thing, self.name)
        told = {"fps": fps} if _takes_fps(function) else {}
        try:
            given = function(frames, instruction, **told)
        except FAILURES as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.name} failed{place}: {_said(error)}") from error
        return _checked(given, len(frames), self.name, place)


def outside_critic(thing: Any, name: str, camera: str = "workspace") -> OutsideReader | OutsideSeer:
    """A user's function or object as a critic at work.

    Args:
        name: what it is called in errors, such as my_module:critic.
        camera: the view that it is given, unless it has `cameras` of its own.

    Raises:
        UserError: it has nothing that gives values.
    """
    cameras = own_cameras(thing, name)
    if reads_episodes_alone(thing):
        return OutsideReader(thing, name, cameras)
    value_function(thing, name)
    return OutsideSeer(thing, name, cameras or (camera,))


def side_by_side(episode: Episode, cameras: tuple[str, ...], name: str) -> np.ndarray:
    """The episode's views of these cameras, all at the first one's size, uint8 [T, H, W · cameras, 3].

    Raises:
        UserError: it lacks one.
    """
    for camera in cameras:
        if camera not in episode.images:
            known = ", ".join(sorted(episode.images)) or "none"
            raise UserError(
                f"the data has no camera {camera!r} for {name} (it has {known}); set critic.camera"
            )
    views = [episode.images[camera] for camera in cameras]
    height, width = views[0].shape[1:3]
    sized = [resize(view, height, width) for view in views]
    return np.concatenate(sized, axis=2) if len(views) > 1 else views[0]


def own_cameras(thing: Any, name: str) -> tuple[str, ...] | None:
    """The views that a user's object asks for itself by an attribute `cameras`; None if it has none.

    Raises:
        UserError: they are no names.
    """
    cameras = getattr(thing, "cameras", None)
    if cameras is None:
        return None
    if not isinstance(cameras, (tuple, list)) or not all(isinstance(camera, str) for camera in cameras):
        raise UserError(f'{name}.cameras must be names, such as ("workspace", "wrist"), not {cameras!r}')
    return tuple(cameras)


def reads_episodes_alone(thing: Any) -> bool:
    """Whether a user's class or object has `label` but no `values`: it cannot judge from pictures alone."""
    return callable(getattr(thing, "label", None)) and not callable(getattr(thing, "values", None))


def value_function(thing: Any, name: str) -> Callable[..., Any]:
    """What gives values: the method `values` of a thing, or else the thing itself.

    Raises:
        UserError: it cannot be called.
    """
    function = getattr(thing, "values", thing)
    if not callable(function):
        raise UserError(
            f"{name} is no critic: it needs values(frames, instruction) -> [T], or label(episodes) -> iterator of [T]"
        )
    return function


def made(thing: Any, name: str, settings: dict[str, Any]) -> Any:
    """A class's object with these settings; anything else as it is.

    Raises:
        UserError: it cannot be made.
    """
    if not isinstance(thing, type):
        return thing
    try:
        return thing(**settings)
    except FAILURES as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name} could not be made: {_said(error)}") from error


def as_trained(thing: Any, name: str, camera: str) -> TrainedCritic:
    """What a user's `train` gave, as a critic that can be kept.

    Raises:
        UserError: it is no critic, or cannot be saved.
    """
    if not callable(getattr(thing, "save", None)):
        raise UserError(
            f"{name}.train gave {type(thing).__name__}, which has no save(folder); give the trained critic"
        )
    return outside_critic(thing, name, camera)


def _labelled(
    label: Callable[[Iterator[Episode]], Iterable[Any]], episodes: Iterator[Episode], name: str
) -> Iterator[np.ndarray]:
    """The answers of a user's `label`, each checked against its episode; it may read ahead."""
    waiting: deque[int] = deque()
    reading = False  # whether a failure is one of the data

    def passing() -> Iterator[Episode]:
        nonlocal reading
        reading = True
        for episode in episodes:
            reading = False
            waiting.append(len(episode))
            yield episode
            reading = True
        reading = False

    number = 0
    try:
        answers = label(passing())
        if not isinstance(answers, Iterable):
            raise UserError(f"{name}.label gave {type(answers).__name__}; yield one array for each episode")
        for number, given in enumerate(answers, start=1):
            if not waiting:
                raise UserError(
                    f"{name} gave more values than it was shown episodes; give one array for each"
                )
            yield _checked(given, waiting.popleft(), name, f" in episode {number - 1}")
    except FAILURES as error:
        if reading or isinstance(error, UserError):
            raise
        raise UserError(f"{name} failed in episode {number}: {_said(error)}") from error
    if waiting or next(episodes, None) is not None:
        raise UserError(f"{name} gave values for {number} episodes and stopped; give one array for each")


def _checked(given: Any, length: int, name: str, place: str) -> np.ndarray:
    """An answer as values float32 [T].

    Raises:
        UserError: it is none.
    """
    try:
        array = np.asarray(given)
    except FAILURES as error:
        raise UserError(f"{name} gave no array{place}: {_said(error)}") from error
    if array.dtype.kind in NO_NUMBERS:
        raise UserError(f"{name} gave {array.dtype}{place}; give float32, one number a frame")
    array = array.astype(np.float32)
    if array.shape != (length,):
        raise UserError(
            f"{name} gave values of shape {array.shape} for {length} frames{place}; give one a frame"
        )
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise UserError(f"{name} gave values outside [0, 1]{place}; clip or scale them")
    return array


def _takes_fps(function: Callable[..., Any]) -> bool:
    """Whether a function has a parameter `fps`; built-in ones do not tell."""
    try:
        return "fps" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _said(error: BaseException) -> str:
    """An error's kind and text, and the line of code that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
