"""Questions of many clients before one critic: those that wait at the same time are answered together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from envs.errors import UserError
from experiments.serving.questions import Question
from value_model.critic.types import SeeingCritic


class Busy(Exception):
    """More questions wait than are kept."""


class Late(Exception):
    """No answer in time."""


@runtime_checkable
class BatchingCritic(SeeingCritic, Protocol):
    """A critic that judges several videos at once, each as it would alone."""

    def values_of_many(
        self, videos: Sequence[np.ndarray], instructions: Sequence[str], fps: float | None = None
    ) -> list[np.ndarray]:
        """Values float32 [T] in [0, 1] of each video."""
        ...


@dataclass(frozen=True)
class _Waiting:
    question: Question
    answer: Future[np.ndarray] = field(default_factory=Future)


class Batcher:
    """Asks the critic in a thread of its own. A context manager, whose end leaves what waits without an answer.

    Args:
        most_frames: of the questions that are answered together; most_waiting: questions that are kept.
    """

    def __init__(self, critic: SeeingCritic, most_frames: int, most_waiting: int) -> None:
        self.critic = critic
        self.batches = 0  # answered so far
        self._most_frames = most_frames
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(most_waiting)
        self._thread = threading.Thread(target=self._work, name="critic", daemon=True)

    def __enter__(self) -> Batcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()

    def ask(self, question: Question, timeout: float) -> np.ndarray:
        """Values float32 [T] of the question's frames.

        Raises:
            UserError: the critic refuses it; Busy, Late: it cannot be answered now.
        """
        waiting = _Waiting(question)
        try:
            self._queue.put_nowait(waiting)
        except queue.Full:
            raise Busy from None
        try:
            return waiting.answer.result(timeout)
        except TimeoutError:
            waiting.answer.cancel()
            raise Late from None
        except CancelledError:
            raise Busy from None

    def _work(self) -> None:
        held: _Waiting | None = None
        while True:
            first, held = held or self._queue.get(), None
            if first is None:
                break
            batch, frames = [first], len(first.question.frames)
            while not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    return self._answer(batch)
                frames += len(more.question.frames)
                if more.question.fps != first.question.fps or frames > self._most_frames:
                    held = more
                    break
                batch.append(more)
            self._answer(batch)

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        batch = [one for one in batch if one.answer.set_running_or_notify_cancel()]
        if not batch:
            return
        self.batches += 1
        try:
            found = self._values([one.question for one in batch])
        except UserError as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
            else:  # one of them is at fault: who is told by asking each alone
                self._answer_each(batch)
        except Exception as error:  # a defect of the critic's; whoever asked prints it
            for one in batch:
                one.answer.set_exception(error)
        else:
            for one, values in zip(batch, found, strict=True):
                one.answer.set_result(values)

    def _answer_each(self, batch: Sequence[_Waiting]) -> None:
        for one in batch:
            try:
                one.answer.set_result(self._values([one.question])[0])
            except Exception as error:
                one.answer.set_exception(error)

    def _values(self, questions: Sequence[Question]) -> list[np.ndarray]:
        fps = questions[0].fps
        if isinstance(self.critic, BatchingCritic):
            instructions = [one.instruction for one in questions]
            return self.critic.values_of_many([one.frames for one in questions], instructions, fps)
        return [self.critic.values(one.frames, one.instruction, fps) for one in questions]
