"""Asking a chat endpoint by OpenAI's own client: one-line errors, a deadline, bounded concurrency.

The client (`pip install 'policy-extraction[vlm]'`) retries what a later attempt may not meet: broken connections,
time-outs, the statuses 408, 409, 429 and 5xx, waiting longer each time or as long as the endpoint asks. The questions
are asked by an event loop in a thread of its own, so that one that is given up ends at once.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from envs.errors import UserError

AGAIN = (408, 409, 429)  # beside all of 5xx, statuses that are asked again
PAUSE = 0.5  # seconds before an answer that is no chat completion is asked for again; doubled each time


@dataclass(frozen=True)
class ConnectionConfig:
    """How patiently an endpoint is asked. Times are in seconds."""

    connect_timeout: float = 10.0
    read_timeout: float = 120.0  # without a byte of the answer
    deadline: float = 600.0  # of one answer, its retries and waiting included
    retries: int = 6  # after the first attempt: on 429, 5xx, time-outs and broken connections
    concurrency: int = 4  # questions under way at once

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "read_timeout", "deadline"):
            if not getattr(self, name) > 0:
                raise UserError(f"connection.{name}={getattr(self, name)} must be positive")
        if self.retries < 0 or self.concurrency < 1:
            raise UserError("connection.retries must not be negative, connection.concurrency at least 1")


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers: `{base_url}/chat/completions`. An empty key is not sent; it never shows in messages."""

    base_url: str
    model: str
    key: str
    key_name: str  # where the user keeps the key, for messages

    @property
    def url(self) -> str:
        """The address that questions are posted to."""
        return f"{self.base_url.rstrip('/')}/chat/completions"


def check_installed() -> None:
    """See that OpenAI's client is there, without the seconds that importing it takes.

    Raises:
        UserError: it is not.
    """
    if find_spec("openai") is None:
        raise UserError(
            "a vision-language model is asked by openai, which is not installed: pip install 'policy-extraction[vlm]'"
        )


class ChatClient:
    """Asks one endpoint; a context manager, whose end gives up all questions that are still under way.

    Raises:
        UserError: the client is not installed; the address or the key cannot be sent.
    """

    def __init__(self, endpoint: Endpoint, connection: ConnectionConfig) -> None:
        check_installed()
        if not endpoint.base_url.startswith(("http://", "https://")):
            raise UserError(f"base_url={endpoint.base_url!r} must begin with http:// or https://")
        if not endpoint.key.isascii() or not endpoint.key.isprintable():
            raise UserError(
                f"the API key in {endpoint.key_name} has characters that no key has; set it again"
            )
        self.endpoint = endpoint
        self.connection = connection
        self._slots = asyncio.Semaphore(connection.concurrency)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> ChatClient:
        import openai

        settings = self.connection
        self._openai = openai.AsyncOpenAI(
            base_url=self.endpoint.base_url,
            api_key=self.endpoint.key or "none",  # not sent: see _headers
            max_retries=settings.retries,
            timeout=openai.Timeout(settings.read_timeout, connect=settings.connect_timeout, pool=None),
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )
        self._headers = {} if self.endpoint.key else {"Authorization": openai.Omit()}
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.submit(self._end()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def submit(self, work: Coroutine[Any, Any, Any]) -> Future:
        """Let a coroutine, which may call `complete`, run beside the caller."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def complete(self, body: dict[str, Any]) -> str:
        """The text that the model answers to a request (`messages`, `temperature`, …); "" if it refuses to answer.

        Raises:
            UserError: the endpoint is down, too slow or overloaded for longer than all retries, refuses the key, has
                no such model, or does not speak the protocol.
        """
        deadline = self.connection.deadline
        async with self._slots:
            try:
                async with asyncio.timeout(deadline):
                    return await self._completion({"model": self.endpoint.model, **body})
            except TimeoutError:
                raise UserError(
                    f"{self.endpoint.url} gave no answer in {deadline:g} s, retries included; "
                    "raise connection.deadline or lower connection.concurrency"
                ) from None

    async def _completion(self, body: dict[str, Any]) -> str:
        """The answer's text, asked for again where the answer is no chat completion."""
        for attempt in range(self.connection.retries + 1):
            if attempt:
                await asyncio.sleep(PAUSE * 2 ** (attempt - 1))
            text = await self._once(body)
            if text is not None:
                return text
        raise UserError(
            f"{self.endpoint.url} answers, but not with a chat completion{self._attempts}; "
            "check base_url (which mostly ends with /v1)"
        )

    async def _once(self, body: dict[str, Any]) -> str | None:
        """The answer's text; None where it is no chat completion."""
        import openai

        settings, url = self.connection, self.endpoint.url
        try:
            chat = self._openai.chat.completions
            return _content(await chat.create(**body, extra_headers=self._headers))  # type: ignore[arg-type]
        except json.JSONDecodeError:
            return None
        except openai.APITimeoutError as error:
            raise UserError(
                f"{url} is too slow: nothing in {settings.read_timeout:g} s, or no connection in "
                f"{settings.connect_timeout:g} s{self._attempts}; raise connection.read_timeout or check base_url"
            ) from error
        except openai.APIConnectionError as error:
            raise UserError(
                f"{url} cannot be reached, or broke off the connection ({error.__cause__ or error})"
                f"{self._attempts}: is it running? check base_url"
            ) from error
        except openai.APIStatusError as error:
            raise UserError(f"{url} {self._refusal(error.status_code, error.response)}") from error

    @property
    def _attempts(self) -> str:
        retries = self.connection.retries
        return f" ({retries + 1} attempts)" if retries else ""

    def _refusal(self, status: int, response: Any) -> str:
        """What a response without an answer means, and its mend."""
        endpoint, said = self.endpoint, _detail(response)
        if status in AGAIN or status >= 500:
            failing = f"is overloaded or failing (status {status}{said})"
            wait = response.headers.get("Retry-After", "")
            # the client gives up at once where it is to wait for more than two minutes
            return failing + (f", and asks to wait {wait} s: try again later" if wait else self._attempts)
        if status in (401, 403):
            what = f"refuses the API key in {endpoint.key_name}" if endpoint.key else "wants an API key"
            return f"{what} (status {status}{said}); set {endpoint.key_name}"
        if status == 404:
            return (
                f"has no model {endpoint.model!r}, or is no chat endpoint (status 404{said}); "
                "check model and base_url (which mostly ends with /v1)"
            )
        return f"refuses the question (status {status}{said})"

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._openai.close()


def _content(completion: Any) -> str | None:
    """The text of a completion, as the client read it, which checks nothing; None where it is none."""
    try:
        content = completion.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        return None
    return content if isinstance(content, str) else ""


def _detail(response: Any) -> str:
    """`: what the endpoint says of its failure`, on one line, or nothing."""
    try:
        said = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = response.text
    line = " ".join(str(said).split())[:200]
    return f": {line}" if line else ""
