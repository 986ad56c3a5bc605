"""GVL: a vision-language model behind a chat endpoint as a critic.

Source: "Vision Language Models are In-Context Value Learners", arXiv 2411.04549. Deviations: no examples of other
episodes in the prompt (zero-shot); frames between those that are shown get values by linear interpolation.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file
from envs.types import Episode
from value_model.chat.client import ChatClient, ConnectionConfig, Endpoint
from value_model.chat.pictures import shrink
from value_model.critic.gvl.question import VERSION, MalformedAnswer, Question
from value_model.video.frames import check_frames, watch

ON_MISS = ("error", "undefined")


@dataclass(frozen=True)
class GVLConfig:
    """What is asked, and of whom: all that the values depend on."""

    base_url: str = "https://api.openai.com/v1"  # any endpoint with /chat/completions, such as vLLM's
    model: str = ""  # the endpoint's name for it
    key_variable: str = (
        "OPENAI_API_KEY"  # the environment variable with the API key; may be unset if none is needed
    )
    camera: str = "workspace"
    frames: int = 30  # shown of every video, evenly spaced, the first as the anchor of 0 %; published 30
    image_size: int = 256  # pixels; longer sides are reduced to it
    temperature: float = 0.0  # negative: not sent, for models that refuse it
    attempts: int = 3  # a malformed answer is asked for again, in another order
    on_miss: str = "error"  # after the last attempt: stop, or ("undefined") give NaN and count a miss
    seed: int = 0  # of the order of the frames

    def __post_init__(self) -> None:
        if self.frames < 2 or self.image_size < 16 or self.attempts < 1:
            raise UserError("GVL needs frames ≥ 2, image_size ≥ 16 and attempts ≥ 1")
        if self.on_miss not in ON_MISS:
            raise UserError(f"on_miss={self.on_miss} must be {' or '.join(ON_MISS)}")
        if self.seed < 0:
            raise UserError(f"seed={self.seed} must not be negative")


class GVL:
    """A frozen vision-language model as a critic (a `value_model.critic.types.SeeingCritic`).

    asked and missed count the videos that it judged and those that it gave no usable answer to.

    Args:
        answers: a folder; every finished answer is kept there, under a digest of the whole question, and is not asked
            for again.
        tell: called with one line at the end of `label`, if there were misses.
    """

    def __init__(
        self,
        config: GVLConfig,
        answers: Path,
        connection: ConnectionConfig | None = None,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self.config = config
        self.answers = answers
        self.connection = connection or ConnectionConfig()
        self.asked = self.missed = 0
        self._tell = tell

    @property
    def cameras(self) -> tuple[str, ...]:
        """The views that `values` is given."""
        return (self.config.camera,)

    def values(self, frames: np.ndarray, instruction: str, fps: float | None = None) -> np.ndarray:
        """Values float32 [T] in [0, 1] of one video uint8 [T, H, W, 3], or NaN for a counted miss; any `fps` will do.

        Raises:
            UserError: see `label`.
        """
        [values] = self._judge_all(iter([(frames, instruction)]))
        return values

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] in [0, 1] of each episode, in order; a miss is NaN throughout (`on_miss="undefined"`).

        Raises:
            UserError: the endpoint does not answer (see `ChatClient.complete`), gave no usable answer for a video
                (`on_miss="error"`), or an episode lacks the camera or an instruction.
        """
        yield from self._judge_all(self._videos(episodes))
        if self.missed and self._tell is not None:
            share = self.missed / self.asked
            self._tell(
                f"{self.config.model} gave no usable answer for {self.missed} of {self.asked} videos ({share:.1%})"
            )

    def _videos(self, episodes: Iterable[Episode]) -> Iterator[tuple[np.ndarray, str]]:
        for episode in watch(episodes, self.cameras):
            if self.config.camera not in episode.images:
                known = ", ".join(sorted(episode.images)) or "none"
                raise UserError(f"the episode has no camera {self.config.camera!r}; it has {known}")
            yield episode.images[self.config.camera], episode.instruction

    def _judge_all(self, videos: Iterator[tuple[np.ndarray, str]]) -> Iterator[np.ndarray]:
        """Values of the videos in order, a few of them under way at once."""
        key = os.environ.get(self.config.key_variable, "").strip()
        endpoint = Endpoint(self.config.base_url, self.config.model, key, self.config.key_variable)
        with ChatClient(endpoint, self.connection) as client:
            waiting: deque[Future] = deque()
            for frames, instruction in videos:
                self.asked += 1
                waiting.append(client.submit(self._judge(client, frames, instruction, self.asked)))
                if len(waiting) >= 2 * self.connection.concurrency:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    async def _judge(
        self, client: ChatClient, frames: np.ndarray, instruction: str, number: int
    ) -> np.ndarray:
        """Values of one video: asked for, or found among the answers."""
        check_frames(frames)
        if not instruction.strip():
            raise UserError(f"video {number} has no instruction; say in a sentence what the robot should do")
        shown = np.unique(np.linspace(0, len(frames) - 1, self.config.frames).round().astype(np.int64))
        if len(shown) == 1:
            return np.zeros(len(frames), np.float32)  # nothing but the anchor
        seen = np.stack([shrink(frame, self.config.image_size) for frame in frames[shown]])
        path = self.answers / f"{self._digest(seen, instruction)}.json"
        shares = read_answer(path, len(shown))
        if shares is None:
            shares = await self._ask(client, seen, instruction, number, path)
        if shares is None:
            self.missed += 1
            return np.full(len(frames), np.nan, np.float32)
        return np.interp(np.arange(len(frames)), shown, shares).astype(np.float32)

    async def _ask(
        self, client: ChatClient, seen: np.ndarray, instruction: str, number: int, path: Path
    ) -> np.ndarray | None:
        """The share done in every frame that is shown, kept at `path`; None after too many malformed answers."""
        config, reason = self.config, ""
        body = {"temperature": config.temperature} if config.temperature >= 0 else {}
        for order in orders(len(seen) - 1, config.attempts, [config.seed, *path.stem.encode()]):
            question = Question(instruction, seen, 1 + order)
            answer = await client.complete({"messages": question.messages(), **body})
            try:
                shares = question.read(answer)
            except MalformedAnswer as error:
                reason = str(error)
                continue
            with atomic_file(path) as temporary:
                temporary.write_text(json.dumps({"shares": shares.tolist(), "answer": answer}, indent=1))
            return shares
        if config.on_miss == "error":
            raise UserError(
                f"{config.model} gave no usable answer for video {number} in {config.attempts} attempts ({reason}); "
                "use another model, or count such videos as undefined (on_miss=undefined)"
            )
        return None

    def _digest(self, seen: np.ndarray, instruction: str) -> str:
        """Stands for the question: model, words and pictures."""
        config = self.config
        asked = [VERSION, config.base_url, config.model, config.temperature, config.seed, instruction]
        total = hashlib.sha256(json.dumps([*asked, seen.shape]).encode())
        total.update(np.ascontiguousarray(seen).tobytes())
        return total.hexdigest()[:32]


def orders(count: int, attempts: int, entropy: Sequence[int]) -> Iterator[np.ndarray]:
    """Drawn orders int64 [count] of 0 … count − 1, one for each attempt; none is that before it, if there is another."""
    random = np.random.default_rng(entropy)
    order = random.permutation(count)
    for _ in range(attempts):
        yield order
        last = order
        while count > 1 and np.array_equal(order, last):
            order = random.permutation(count)


def read_answer(path: Path, frames: int) -> np.ndarray | None:
    """The shares [frames] of a kept answer; None if there is none, or none that is whole."""
    try:
        shares = np.array(json.loads(path.read_text())["shares"], np.float64)
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    whole = shares.shape == (frames,) and bool(np.all((shares >= 0) & (shares <= 1)))
    return shares if whole else None
