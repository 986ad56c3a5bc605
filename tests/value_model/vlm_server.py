"""A chat endpoint on loopback that looks at the pictures, for tests of its clients."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Reply = tuple[int, str, dict[str, str]]
"""Status, body and headers of a response."""


def chat(text: str | None) -> Reply:
    """A chat completion."""
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}), {}


def failure(status: int, message: str = "", **headers: str) -> Reply:
    """An error as OpenAI's endpoint words it."""
    return status, json.dumps({"error": {"message": message}}), headers


def brightness(request: dict[str, Any]) -> list[int]:
    """The grey level of every picture of a request, in the order shown."""
    urls = [part["image_url"]["url"] for part in request["messages"][0]["content"] if "image_url" in part]
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split("base64,")[1])))) for url in urls]
    return [int(picture.mean()) for picture in pictures]


def seeing(request: dict[str, Any]) -> str:
    """The answer of a model that sees how bright each frame is: grey level p is p %."""
    return "\n".join(
        f"Frame {number}: grey, {level}%" for number, level in enumerate(brightness(request)[1:], 1)
    )


class VLMServer(AbstractContextManager):
    """Serves `reply(request, number of the request from 0)`; notes requests, keys, times and how many were at once."""

    def __init__(self, reply: Callable[[dict[str, Any], int], Reply], seconds: float = 0.0) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(server.requests)
                    server.requests.append(request)
                    server.keys.append(self.headers.get("Authorization"))
                    server.times.append(time.monotonic())
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                time.sleep(seconds)
                status, body, headers = (
                    reply(request, number)
                    if self.path == "/v1/chat/completions"
                    else failure(404, "no such path")
                )
                with lock:
                    server.at_once -= 1
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                with suppress(BrokenPipeError):  # who asked has given up
                    self.wfile.write(body.encode())

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> "VLMServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
