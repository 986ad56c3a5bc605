"""A vision-language model behind a chat endpoint as a judge of success: it sees the pictures of an attempt and votes.

Source: "World-Gymnast", arXiv 2602.02454: every third picture, five votes, the majority, ties to success. Deviations:
an answer is a clear yes or no, or is asked for again; an attempt has no verdict, instead of a failure, where votes that
are missing could have changed it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file
from value_model.chat.client import ChatClient, ConnectionConfig, Endpoint
from value_model.chat.pictures import shrink
from value_model.success.question import VERSION, ask, read
from value_model.video.frames import check_frames


@dataclass(frozen=True)
class VLMConfig:
    """What is asked, and of whom: all that the verdicts depend on."""

    base_url: str = "https://api.openai.com/v1"  # any endpoint with /chat/completions, such as vLLM's
    model: str = ""  # the endpoint's name for it
    key_variable: str = (
        "OPENAI_API_KEY"  # the environment variable with the API key; may be unset if none is needed
    )
    every: int = 3  # one picture in so many is shown, and always the last; published 3
    image_size: int = 256  # pixels; longer sides are reduced to it
    votes: int = 5  # published 5
    temperature: float = 1.0  # negative: not sent, for models that refuse it
    generated: bool = True  # it is told that the video may be generated and have artefacts; published: told
    attempts: int = 3  # for one vote: an answer that is no clear yes or no is asked for again
    give_up: int = 8  # votes that failed one after the other after which the endpoint is asked no more

    def __post_init__(self) -> None:
        for name, least in (("every", 1), ("image_size", 16), ("votes", 1), ("attempts", 1), ("give_up", 1)):
            if getattr(self, name) < least:
                raise UserError(f"vlm.{name}={getattr(self, name)} must be at least {least}")


class VLMJudge:
    """A frozen vision-language model that says whether attempts fulfilled their instructions.

    asked and failed count the questions that it was sent and the votes that it did not give.

    Args:
        answers: a folder; votes are kept there, under a digest of the whole question, and are not asked for again.
        tell: called with one line where attempts have no verdict.
    """

    def __init__(
        self,
        config: VLMConfig,
        answers: Path,
        connection: ConnectionConfig | None = None,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self.config, self.answers = config, answers
        self.connection = connection or ConnectionConfig()
        self.asked = self.failed = 0
        self._tell = tell
        self._failed_in_a_row, self._reason = 0, ""

    @property
    def cost(self) -> Mapping[str, int]:
        """{what: how often so far}."""
        return {"votes_asked": self.asked, "votes_failed": self.failed}

    def verdicts(self, attempts: Sequence[tuple[np.ndarray, str]]) -> np.ndarray:
        """float32 [R] of R attempts, each its pictures uint8 [F, H, W, 3] in time and its instruction: 1 or 0, NaN: none.

        Raises:
            UserError: it has no verdict on any of them (the line says why the last vote failed), or one has no
                instruction.
        """
        questions = [self._shown(frames, instruction) for frames, instruction in attempts]
        key = os.environ.get(self.config.key_variable, "").strip()
        endpoint = Endpoint(self.config.base_url, self.config.model, key, self.config.key_variable)
        self._failed_in_a_row = 0
        slots = asyncio.Semaphore(self.connection.concurrency)
        with ChatClient(endpoint, self.connection) as client:
            asked = [
                client.submit(self._judge(client, slots, shown, text))
                for shown, (_, text) in zip(questions, attempts, strict=True)
            ]
            votes = [future.result() for future in asked]
        found = np.array([verdict(given, self.config.votes) for given in votes], np.float32)
        silent = int(np.isnan(found).sum())
        if silent and silent == len(found):
            raise UserError(
                f"the judge {self.config.model} gave no verdict on any of {silent} rollouts: {self._reason}"
            )
        if silent and self._tell is not None:
            self._tell(
                f"{self.config.model} gave no verdict on {silent} of {len(found)} rollouts ({self._reason})"
            )
        return found

    def _shown(self, frames: np.ndarray, instruction: str) -> np.ndarray:
        """The pictures that are shown of an attempt: one in `every`, from the first on, and the last."""
        check_frames(frames)
        if not instruction.strip():
            raise UserError("a rollout has no instruction to judge it by; say what the robot should do")
        chosen = np.arange(0, len(frames), self.config.every)
        if chosen[-1] != len(frames) - 1:
            chosen = np.append(chosen, len(frames) - 1)
        return np.stack([shrink(frame, self.config.image_size) for frame in frames[chosen]])

    async def _judge(
        self, client: ChatClient, slots: asyncio.Semaphore, shown: np.ndarray, instruction: str
    ) -> list[bool]:
        """The votes on one attempt: kept ones, and as many as are missing if they are given."""
        path = self.answers / f"{self._digest(shown, instruction)}.json"
        votes = read_votes(path)[: self.config.votes]
        missing = self.config.votes - len(votes)
        if missing:
            temperature = self.config.temperature
            body: dict[str, Any] = {"messages": ask(shown, instruction, self.config.generated)}
            body |= {"temperature": temperature} if temperature >= 0 else {}
            given = await asyncio.gather(*[self._vote(client, slots, body) for _ in range(missing)])
            new = [vote for vote in given if vote is not None]
            votes += new
            if new:
                with atomic_file(path) as temporary:
                    temporary.write_text(json.dumps({"votes": votes}))
        return votes

    async def _vote(self, client: ChatClient, slots: asyncio.Semaphore, body: dict[str, Any]) -> bool | None:
        """One vote; None, counted, where there is none after all attempts or the endpoint has been given up."""
        config = self.config
        async with slots:
            for _ in range(config.attempts):
                if self._failed_in_a_row >= config.give_up:
                    break
                self.asked += 1
                try:
                    vote = read(await client.complete(body))
                except UserError as error:
                    self._reason = str(error)
                    break
                if vote is not None:
                    self._failed_in_a_row = 0
                    return vote
                self._reason = (
                    f"it answers neither yes nor no in {config.attempts} attempts; use another model"
                )
            self.failed += 1
            self._failed_in_a_row += 1
            return None

    def _digest(self, shown: np.ndarray, instruction: str) -> str:
        """Stands for the question: model, words and pictures."""
        config = self.config
        asked = [VERSION, config.base_url, config.model, config.temperature, config.generated, instruction]
        total = hashlib.sha256(json.dumps([*asked, shown.shape]).encode())
        total.update(np.ascontiguousarray(shown).tobytes())
        return total.hexdigest()[:32]


def verdict(votes: Sequence[bool], wanted: int) -> float:
    """1 where at least half of the `wanted` votes say yes, 0 where more than half say no.

    NaN where too few were given to tell: the missing ones could decide.
    """
    yes = sum(votes)
    if 2 * yes >= wanted:
        return 1.0
    return 0.0 if 2 * (len(votes) - yes) > wanted else float("nan")


def read_votes(path: Path) -> list[bool]:
    """The votes of a kept file; none if there is no such file, or it is not whole."""
    try:
        votes = json.loads(path.read_text())["votes"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return []
    return votes if isinstance(votes, list) and all(isinstance(vote, bool) for vote in votes) else []
