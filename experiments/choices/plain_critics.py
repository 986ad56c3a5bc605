"""Critics at work that nothing is trained for: frame numbers, the simulator's state, a user's own function."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.types import Episode
from experiments.choices.oracle import Oracle
from experiments.settings.plugins import resolve
from value_model.video.frames import watch

FAILURES = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError)
FAILURES += (
    RuntimeError,
    TypeError,
    ValueError,
)  # of a user's function; what else it raises keeps its traceback

NO_NUMBERS = "OSUcmM"  # kinds of arrays: objects, texts, complex numbers, times


@dataclass(frozen=True)
class TimeIndex:
    """Frame number over episode length."""

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        for episode in episodes:
            yield np.linspace(0, 1, len(episode), dtype=np.float32)


@dataclass(frozen=True)
class StateCritic:
    """The oracle as a critic."""

    oracle: Oracle

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        return (self.oracle.values(episode) for episode in episodes)


@dataclass(frozen=True)
class VideoCritic:
    """A user's object with `values`, or function, one episode at a time, its values checked."""

    function: Any
    name: str
    camera: str

    @classmethod
    def load(cls, module: str, camera: str) -> VideoCritic:
        """Import `package.module:name`; a class is made without arguments.

        Raises:
            UserError: it cannot be imported or made, or is nothing that gives values.
        """
        thing = resolve(module)
        if isinstance(thing, type):
            try:
                thing = thing()
            except FAILURES as error:
                raise UserError(f"{module} could not be made: {_said(error)}") from error
        return cls(value_function(thing, module), module, camera)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The views that `values` is given."""
        return (self.camera,)

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] in [0, 1] of each episode, in order.

        Raises:
            UserError: an episode lacks the camera, or see `values`.
        """
        for number, episode in enumerate(watch(episodes, self.cameras)):
            if self.camera not in episode.images:
                known = ", ".join(sorted(episode.images)) or "none"
                raise UserError(
                    f"the data has no camera {self.camera!r} for the critic (it has {known}); set critic.camera"
                )
            yield self._checked(episode.images[self.camera], episode.instruction, f" in episode {number}")

    def values(self, frames: np.ndarray, instruction: str, fps: float | None = None) -> np.ndarray:
        """Values float32 [T] in [0, 1] of one video uint8 [T, H, W, 3]; the function is not told the `fps`.

        Raises:
            UserError: the function failed, or gave no numbers, a wrong shape, or values outside [0, 1] or not finite.
        """
        return self._checked(frames, instruction, "")

    def _checked(self, frames: np.ndarray, instruction: str, place: str) -> np.ndarray:
        try:
            given = self.function(frames, instruction)
        except FAILURES as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.name} failed{place}: {_said(error)}") from error
        try:
            array = np.asarray(given)
        except FAILURES as error:
            raise UserError(f"{self.name} gave no array{place}: {_said(error)}") from error
        if array.dtype.kind in NO_NUMBERS:
            raise UserError(f"{self.name} gave {array.dtype}{place}; give float32, one number a frame")
        array = array.astype(np.float32)
        if array.shape != (len(frames),):
            raise UserError(
                f"{self.name} gave values of shape {array.shape} for {len(frames)} frames{place}; give one a frame"
            )
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise UserError(f"{self.name} gave values outside [0, 1]{place}; clip or scale them")
        return array


def value_function(thing: Any, module: str) -> Any:
    """What gives values: the method `values` of a thing, or else the thing itself.

    Raises:
        UserError: it cannot be called.
    """
    function = getattr(thing, "values", thing)
    if not callable(function):
        raise UserError(f"{module} is no critic: it needs values(frames, instruction) -> [T]")
    return function


def _said(error: BaseException) -> str:
    """An error's kind and text, and the line of code that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
