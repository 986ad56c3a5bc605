"""A client for chat endpoints that speak OpenAI's protocol: time-outs, retries with back-off, bounded concurrency.

The questions are asked by an event loop in a thread of its own, so that one that is given up ends at once.
"""

from __future__ import annotations

import asyncio
import email.utils
import random
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import httpx

from envs.errors import UserError

BUSY = (408, 409, 425, 429)  # beside all of 5xx, statuses that a later attempt may not meet


@dataclass(frozen=True)
class ConnectionConfig:
    """How patiently an endpoint is asked. Times are in seconds."""

    connect_timeout: float = 10.0
    read_timeout: float = 120.0  # without a byte of the answer
    deadline: float = 600.0  # of one answer, its retries and waiting included
    retries: int = 6  # after the first attempt: on 429, 5xx, time-outs and broken connections
    backoff: float = (
        0.5  # before the first retry; doubled before each further one, and shortened by up to a half
    )
    concurrency: int = 4  # questions under way at once

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "read_timeout", "deadline"):
            if not getattr(self, name) > 0:
                raise UserError(f"connection.{name}={getattr(self, name)} must be positive")
        if self.retries < 0 or self.backoff < 0 or self.concurrency < 1:
            raise UserError("connection: retries and backoff must not be negative, concurrency at least 1")


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


class _Retry(Exception):
    """A failure that a later attempt may not meet; `wait` is how many seconds the endpoint asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class ChatClient:
    """Asks one endpoint; a context manager, whose end gives up all questions that are still under way.

    Raises:
        UserError: the address or the key cannot be sent.
    """

    def __init__(self, endpoint: Endpoint, connection: ConnectionConfig) -> None:
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
        settings = self.connection
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self.endpoint.key}"} if self.endpoint.key else {},
            timeout=httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout, pool=None),
            limits=httpx.Limits(max_connections=settings.concurrency),
        )
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
        settings, url = self.connection, self.endpoint.url
        async with self._slots:
            try:
                async with asyncio.timeout(settings.deadline):
                    return await self._with_retries({"model": self.endpoint.model, **body})
            except TimeoutError:
                raise UserError(
                    f"{url} gave no answer in {settings.deadline:g} s, retries included; "
                    "raise connection.deadline or lower connection.concurrency"
                ) from None

    async def _with_retries(self, body: dict[str, Any]) -> str:
        settings = self.connection
        for attempt in range(settings.retries + 1):
            try:
                return await self._once(body)
            except _Retry as failure:
                if attempt == settings.retries:
                    times = f" ({settings.retries + 1} attempts)" if settings.retries else ""
                    raise UserError(f"{self.endpoint.url} {failure}{times}") from failure
                if failure.wait > settings.deadline:
                    raise UserError(
                        f"{self.endpoint.url} {failure} and asks to wait {failure.wait:.0f} s, longer than "
                        f"connection.deadline={settings.deadline:g}; try again later"
                    ) from failure
                delay = settings.backoff * 2**attempt * random.uniform(0.5, 1.0)
                await asyncio.sleep(max(delay, failure.wait))
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, body: dict[str, Any]) -> str:
        try:
            response = await self._http.post(self.endpoint.url, json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _Retry(
                f"cannot be reached ({error or 'time-out'}): is it running? check base_url"
            ) from error
        except httpx.TimeoutException as error:
            seconds = self.connection.read_timeout
            raise _Retry(f"is too slow: nothing in {seconds:g} s; raise connection.read_timeout") from error
        except httpx.TransportError as error:
            raise _Retry(f"broke off the connection ({error})") from error
        return self._text(response)

    def _text(self, response: httpx.Response) -> str:
        """The answer in a response.

        Raises:
            _Retry, UserError: there is none.
        """
        status, endpoint = response.status_code, self.endpoint
        if status == 200:
            return _content(response)
        said = _detail(response)
        if status in BUSY or status >= 500:
            raise _Retry(f"is overloaded or failing (status {status}{said})", _retry_after(response))
        if status in (401, 403):
            what = f"refuses the API key in {endpoint.key_name}" if endpoint.key else "wants an API key"
            raise UserError(f"{endpoint.url} {what} (status {status}{said}); set {endpoint.key_name}")
        if status == 404:
            raise UserError(
                f"{endpoint.url} has no model {endpoint.model!r}, or is no chat endpoint (status 404{said}); "
                "check model and base_url (which mostly ends with /v1)"
            )
        raise UserError(f"{endpoint.url} refuses the question (status {status}{said})")

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._http.aclose()


def _content(response: httpx.Response) -> str:
    try:
        content = response.json()["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _Retry(
            "answers, but not with a chat completion; check base_url (which mostly ends with /v1)"
        ) from error
    return content if isinstance(content, str) else ""


def _detail(response: httpx.Response) -> str:
    """`: what the endpoint says of its failure`, on one line, or nothing."""
    try:
        said = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = response.text
    line = " ".join(str(said).split())[:200]
    return f": {line}" if line else ""


def _retry_after(response: httpx.Response) -> float:
    """The seconds that a Retry-After header asks for, given as seconds or as a date; 0 without one."""
    text = response.headers.get("Retry-After", "").strip()
    if text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0
