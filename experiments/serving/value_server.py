"""A critic behind HTTP: POST /values, GET / for what it sees, GET /healthz. See `questions` for what is sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from envs.errors import UserError
from experiments.serving.batcher import Batcher, Busy, Late
from experiments.serving.binding import Binding, allowed
from experiments.serving.questions import JSON, MSGPACK, read_question, write_values
from value_model.critic.types import SeeingCritic

PATIENCE = 30.0  # seconds that a client may take to send the next bytes
DISCARDED = 2**26  # bytes that are read of a request that was refused, before it is cut off


class Refused(Exception):
    """A request that is answered by a status and one line."""

    def __init__(self, status: int, line: str, **headers: str) -> None:
        super().__init__(line)
        self.status, self.line, self.headers = status, line, headers


class ValueServer:
    """Serves one critic to many clients. timeout: seconds that a client waits for an answer; max_frames: of a question."""

    def __init__(self, critic: SeeingCritic, binding: Binding, max_frames: int, timeout: float) -> None:
        self.binding, self.max_frames, self.timeout = binding, max_frames, timeout
        self.key = binding.key()
        self.about = {"cameras": list(critic.cameras), "max_frames": max_frames, "values": "POST /values"}
        self.batcher = Batcher(critic, max_frames, binding.clients)

    async def run(self, ready: Callable[[str], object], stop: asyncio.Event) -> None:
        """Listen until `stop` is set.

        Args:
            ready: called with the address once requests are taken.

        Raises:
            UserError: the address cannot be listened at.
        """
        try:
            http = _HTTP(self)
        except OSError as error:
            raise self.binding.not_bound(error) from error
        thread = threading.Thread(target=http.serve_forever, args=(0.1,), daemon=True)
        with http, self.batcher:
            thread.start()
            ready(self.binding.url("http", http.server_port))
            await stop.wait()
            http.shutdown()
            thread.join()

    def answer(self, body: bytes, headers: Mapping[str, str]) -> tuple[bytes, str]:
        """The values for a request's body, and their Content-Type.

        Raises:
            Refused: there are none.
        """
        kind = headers.get("Content-Type", JSON).partition(";")[0].strip().lower()
        if kind not in (JSON, MSGPACK):
            raise Refused(415, f"Content-Type {kind[:60]!r} is not read; send {JSON} or {MSGPACK}")
        try:
            question = read_question(body, kind, self.about["cameras"], self.max_frames)
            return write_values(self.batcher.ask(question, self.timeout), kind), kind
        except UserError as error:
            raise Refused(400, " ".join(str(error).split())) from error
        except Busy:
            raise Refused(503, "too many questions wait; ask again later", **{"Retry-After": "1"}) from None
        except Late:
            raise Refused(504, f"no answer within {self.timeout:g} s; send fewer frames") from None


class _HTTP(ThreadingHTTPServer):
    """A thread for each connection, of which there are only so many."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, served: ValueServer) -> None:
        self.served = served
        self.slots = threading.BoundedSemaphore(served.binding.clients)
        self.turned_away = threading.BoundedSemaphore(served.binding.clients)
        super().__init__((served.binding.host, served.binding.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a connection's thread, or send the client away."""
        if self.slots.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        if self.turned_away.acquire(blocking=False):
            threading.Thread(target=self._turn_away, args=(request,), daemon=True).start()
        else:  # as many again are being told
            self.close_request(request)

    def _turn_away(self, request: socket.socket) -> None:
        line = b'{"error": "too many clients; try later"}'
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {JSON}\r\nConnection: close\r\n"
        request.settimeout(1.0)
        try:
            with contextlib.suppress(OSError):  # it is gone already
                request.sendall(f"{head}Content-Length: {len(line)}\r\n\r\n".encode() + line)
            self.shutdown_request(request)
        finally:
            self.turned_away.release()

    def shutdown_request(self, request: Any) -> None:
        """End a connection; what its client is still sending is read for a while, so that it sees why it was refused."""
        left, until = DISCARDED, time.monotonic() + 5.0
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(1.0)
            while left > 0 and time.monotonic() < until and (part := request.recv(2**16)):
                left -= len(part)
        self.close_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """A connection, from its first request to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no event; a defect is printed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _HTTP
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def do_GET(self) -> None:
        """How it is, and what it sees."""
        if self.path == "/healthz":
            self._send(200, b"OK\n", "text/plain")
        elif self.path == "/":
            self._send(200, json.dumps(self.server.served.about).encode(), JSON)
        else:
            self.send_error(404, "no such path; POST /values, GET / or GET /healthz")

    def do_POST(self) -> None:
        """Values."""
        try:
            body = self._body()
            self._send(200, *self.server.served.answer(body, self.headers))
        except Refused as refused:
            self._send_error(refused)
        except OSError:
            self.close_connection = True  # the client is gone
        except Exception as error:  # a defect of the critic's: told, printed, and the others are served on
            traceback.print_exception(error)
            self._send_error(Refused(500, f"the critic failed: {type(error).__name__}: {error}"))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses itself, in our form."""
        self._send_error(Refused(code, message or "the request is malformed"))

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""

    def handle_expect_100(self) -> bool:
        """Whether a client that asks first (as curl does) is to send its body."""
        try:
            self._length()
        except Refused as refused:
            self._send_error(refused)
            return False
        return super().handle_expect_100()

    def _length(self) -> int:
        """The length of the body that is to come.

        Raises:
            Refused: it is not to be read.
        """
        served = self.server.served
        self.close_connection = True  # unless all that was sent has been read
        if self.path != "/values":
            raise Refused(404, "no such path; POST /values")
        if not allowed(self.headers.get("Authorization"), served.key):
            raise Refused(401, "a key is needed: Authorization: Bearer …")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise Refused(411, "a Content-Length is needed")
        if int(length) > served.binding.max_bytes:
            raise Refused(413, f"a request may have at most {served.binding.max_megabytes} MiB")
        return int(length)

    def _body(self) -> bytes:
        length = self._length()
        body = self.rfile.read(length)
        if len(body) < length:
            raise Refused(400, "the request ended before its Content-Length")
        self.close_connection = self.headers.get("Connection", "").lower() == "close"
        return body

    def _send(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _send_error(self, refused: Refused) -> None:
        body = json.dumps({"error": refused.line}).encode()
        self._send(refused.status, body, JSON, refused.headers)
