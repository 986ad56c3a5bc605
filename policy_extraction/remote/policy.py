"""A policy behind a server that speaks openpi's websocket protocol, as a `Policy` that can act and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from envs.errors import UserError
from envs.types import Observation
from policy_extraction.remote.form import SEED, Form, require_library
from policy_extraction.remote.messages import MalformedMessage, pack, unpack_map
from policy_extraction.types import PLAIN, Batch, Method, PolicySpec, Sampling

NOT_TRAINED = (
    "a policy behind a server cannot be trained here, only measured: python -m experiments.evaluate policy=remote "
    "policy.url=ws://…"
)


@dataclass(frozen=True)
class Server:
    """Where a policy answers, and how patiently it is asked.

    image_size: pictures are brought to this many pixels, square, with black borders; 0: sent as they are.
    """

    url: str
    names: Form = field(default_factory=Form)
    image_size: int = 0
    timeout: float = 60.0  # seconds for an answer; the first one may be slow, while a server compiles
    key_variable: str = ""  # the environment variable that holds the server's key; empty: none is sent
    max_megabytes: int = 64  # of an answer

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        if address.scheme not in ("ws", "wss") or not address.hostname:
            raise UserError(f"policy.url={self.url} must be the address of a server: ws://host:port")
        if not self.timeout > 0:
            raise UserError(f"policy.timeout={self.timeout} must be positive")
        if self.image_size < 0 or self.max_megabytes < 1:
            raise UserError("policy.image_size must not be negative, policy.max_megabytes at least 1")
        if self.key_variable and not os.environ.get(self.key_variable):
            raise UserError(f"policy.key_variable={self.key_variable}: there is no such environment variable")


class Connection:
    """An open connection to a server; every failure of it is one line.

    Raises:
        UserError: nobody answers there, or not in this protocol.
    """

    def __init__(self, server: Server) -> None:
        require_library()
        from websockets.sync.client import connect

        self.server = server
        key = os.environ.get(server.key_variable, "") if server.key_variable else ""
        with _Explained(server):
            self._socket = connect(
                server.url,
                compression=None,
                max_size=server.max_megabytes * 2**20,
                open_timeout=server.timeout,
                close_timeout=2,
                ping_interval=None,  # openpi's server answers no ping while it computes
                additional_headers={"Authorization": f"Api-Key {key}"} if key else None,
            )
        self.metadata: Mapping[str, Any] = self._receive()

    def ask(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            UserError: it is refused, late or malformed, or the connection broke.
        """
        with _Explained(self.server):
            self._socket.send(pack(content))
        return self._receive()

    def close(self) -> None:
        """End it; may be called twice."""
        self._socket.close()

    def _receive(self) -> dict[str, Any]:
        with _Explained(self.server):
            answer = self._socket.recv(timeout=self.server.timeout)
            if isinstance(answer, str):
                lines = answer.strip().splitlines() or ["without saying why"]
                raise UserError(f"the server at {self.server.url} failed: {lines[-1][:300]}")
            return unpack_map(answer)


class RemotePolicy:
    """A `Policy` that acts by asking a server, a row at a time. A server that takes seeds is told the row's."""

    def __init__(self, connection: Connection, spec: PolicySpec) -> None:
        self.spec = spec
        self._connection = connection
        self._takes_seed = connection.metadata.get("takes_seed") is True

    def act(self, observation: Observation, seeds: np.ndarray, sampling: Sampling = PLAIN) -> np.ndarray:
        """See `Policy`.

        Raises:
            UserError: the server refuses, is late or gives no actions; or `sampling` is not the default.
        """
        if sampling != PLAIN:
            raise UserError("a policy behind a server has no temperature or guidance; leave them at 1")
        server, chunks = self._connection.server, []
        resized = _resized(observation, server.image_size)
        for row, seed in enumerate(seeds):
            content = server.names.request(resized, row, self.spec.cameras)
            if self._takes_seed:
                content[SEED] = int(seed)
            answer = self._connection.ask(content)
            try:
                chunk = server.names.chunk(answer, self.spec.action_dim)
            except MalformedMessage as error:
                raise UserError(f"the server at {server.url} answered with {error}") from error
            if len(chunk) < self.spec.action_horizon:
                raise UserError(
                    f"the server at {server.url} gave {len(chunk)} actions after {self.spec.action_horizon} before"
                )
            chunks.append(chunk[: self.spec.action_horizon])
        return np.stack(chunks)

    def close(self) -> None:
        """End the connection; may be called twice."""
        self._connection.close()

    def preprocess(self, observation: Observation, sampling: Sampling = PLAIN) -> NoReturn:
        """Refused, as all that training needs.

        Raises:
            UserError: always.
        """
        raise UserError(NOT_TRAINED)

    def update(self, batches: Batch, method: Method) -> NoReturn:
        """See `preprocess`."""
        raise UserError(NOT_TRAINED)

    def log_prob(self, batch: Batch) -> NoReturn:
        """See `preprocess`."""
        raise UserError(NOT_TRAINED)

    def save(self, folder: Path) -> NoReturn:
        """See `preprocess`."""
        raise UserError(NOT_TRAINED)

    def restore(self, folder: Path) -> NoReturn:
        """See `preprocess`."""
        raise UserError(NOT_TRAINED)


def answered_actions(connection: Connection, blank: Observation, action_dim: int) -> int:
    """How many actions the server answers an observation of one row with, asked with one in which nothing is seen.

    Raises:
        UserError: it does not answer with actions of `action_dim` numbers.
    """
    server = connection.server
    content = server.names.request(_resized(blank, server.image_size), 0, tuple(blank.images))
    try:
        return len(server.names.chunk(connection.ask(content), action_dim))
    except MalformedMessage as error:
        raise UserError(f"the server at {server.url} answered with {error}") from error


def _resized(observation: Observation, size: int) -> Observation:
    """With square pictures of `size` pixels, black borders where the shape differs; as it is for 0."""
    if not size:
        return observation
    images = {
        name: np.stack([_padded(frame, size) for frame in frames])
        for name, frames in observation.images.items()
    }
    return Observation(images, observation.proprio, observation.instruction)


def _padded(frame: np.ndarray, size: int) -> np.ndarray:
    height, width = frame.shape[:2]
    scale = size / max(height, width)
    shape = max(round(width * scale), 1), max(round(height * scale), 1)
    small = np.asarray(Image.fromarray(frame).resize(shape, Image.Resampling.BILINEAR))
    padded = np.zeros((size, size, 3), np.uint8)
    top, left = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
    padded[top : top + small.shape[0], left : left + small.shape[1]] = small
    return padded


class _Explained:
    """A context in which whatever goes wrong with a connection becomes one line."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or (isinstance(error, UserError) and not isinstance(error, MalformedMessage)):
            return
        line = _line(self.server, error)
        if line is not None:
            raise UserError(line) from error


def _line(server: Server, error: BaseException) -> str | None:
    """What a failed connection says; None where the failure is none of a connection."""
    from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

    url = server.url
    if isinstance(error, MalformedMessage):
        return f"the server at {url} does not speak openpi's protocol: {error}"
    if isinstance(error, TimeoutError):
        return f"the server at {url} did not answer within {server.timeout:g} s; raise policy.timeout or look at it"
    if isinstance(error, ConnectionClosed):
        close = error.rcvd or error.sent
        why = f"code {int(close.code)} {close.reason}".strip() if close else "without a word"
        return f"the server at {url} closed the connection ({why}); start it again and repeat the command"
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        hint = "; it wants a key: policy.key_variable=…" if status in (401, 403) else ""
        return f"the server at {url} refused the connection (HTTP status {status}){hint}"
    if isinstance(error, WebSocketException | OSError):
        return f"no policy server answers at {url} ({error}); start it, or mend policy.url"
    return None
