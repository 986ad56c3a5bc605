"""The question that GVL asks a vision-language model about a video, and the only answers that it takes.

Source: "Vision Language Models are In-Context Value Learners", arXiv 2411.04549: the first frame anchors 0 %, the
others are shown in random order, so that the model must look at them instead of counting upwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from value_model.chat.pictures import image_part, text_part

VERSION = 1  # raised whenever the words change

OPENING = (
    "You are an expert roboticist. You judge how far a robot has come with its task, in percent: 0 where it has done "
    "nothing yet, 100 where the task is complete. The task: {instruction}\n\n"
    "This is the scene at the beginning, where the task is 0 % complete:"
)
MIDDLE = "These are {count} later frames of the same attempt, in random order. The robot may pause, fail or undo its work."
CLOSING = (
    "Judge every frame by itself: look at the robot's hand and at the objects. Answer with one line for each of the "
    "{count} frames and nothing else, in the order in which they were shown:\n"
    "Frame k: what the frame shows in at most ten words, p%\n"
    "where k is the frame's number and p a number from 0 to 100, for instance\n"
    "Frame 1: the hand is closed around the cube above the table, 45%"
)
LINE = re.compile(r"Frame\s+(\d+)\b(.*)", re.IGNORECASE)
PERCENT = re.compile(r"(?:^|[\s:,(*])(-?\d+(?:\.\d+)?)\s*%$")
DECORATION = " \t*_#->`|."


class MalformedAnswer(Exception):
    """An answer that does not give every frame exactly one percentage; the message says why."""


@dataclass(frozen=True)
class Question:
    """A video's frames, uint8 [1 + N, H, W, 3] in time, and the order in which all but the first are shown.

    order: permutation of 1 … N; the frame that is shown as number k is frames[order[k − 1]].
    """

    instruction: str
    frames: np.ndarray
    order: np.ndarray

    def messages(self) -> list[dict[str, Any]]:
        """The chat that asks it."""
        count = len(self.order)
        content = [text_part(OPENING.format(instruction=self.instruction)), image_part(self.frames[0])]
        content.append(text_part(MIDDLE.format(count=count)))
        for number, frame in enumerate(self.order, start=1):
            content += [text_part(f"Frame {number}:"), image_part(self.frames[frame])]
        content.append(text_part(CLOSING.format(count=count)))
        return [{"role": "user", "content": content}]

    def read(self, answer: str) -> np.ndarray:
        """The share done in every frame of the question, in time: float64 [1 + N] in [0, 1], 0 first.

        Raises:
            MalformedAnswer: a frame is missing, twice or unknown, or has no percentage between 0 and 100.
        """
        shares = np.zeros(1 + len(self.order))
        for number, percent in parse(answer, len(self.order)).items():
            shares[self.order[number - 1]] = percent / 100
        return shares


def parse(answer: str, count: int) -> dict[int, float]:
    """{number of a frame: percentage} of frames 1 … count, from lines `Frame k: …, p%`; other lines are passed over.

    Raises:
        MalformedAnswer: see `Question.read`.
    """
    found: dict[int, float] = {}
    for line in answer.splitlines():
        frame = LINE.fullmatch(line.strip(DECORATION))
        if frame is None:
            continue
        number, percent = int(frame[1]), PERCENT.search(frame[2].rstrip(DECORATION + ")"))
        if not 1 <= number <= count:
            raise MalformedAnswer(f"frame {number} was not shown")
        if number in found:
            raise MalformedAnswer(f"frame {number} is judged twice")
        if percent is None or not 0 <= float(percent[1]) <= 100:
            raise MalformedAnswer(f"frame {number} has no percentage from 0 to 100")
        found[number] = float(percent[1])
    missing = [number for number in range(1, count + 1) if number not in found]
    if missing:
        raise MalformedAnswer(
            f"{len(missing)} of {count} frames are not judged, the first of them {missing[0]}"
        )
    return found
