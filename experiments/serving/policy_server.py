"""A policy behind a websocket, as openpi's and RoboArena's clients speak it.

On connection the server sends metadata; then each message is an observation and is answered by an action chunk. What is
wrong with a message is said as a text, after which this connection is closed with code 1011; all others go on.
"""

from __future__ import annotations

import asyncio
import http
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.rollout import Actor
from experiments.serving.binding import Binding, allowed
from policy_extraction.remote.form import ENDPOINT, RESET_DONE, SEED, Form, require_library
from policy_extraction.remote.messages import MalformedMessage, pack, unpack_map
from policy_extraction.types import PolicySpec


@dataclass(frozen=True)
class Served:
    """What is served. about: what else its clients are told on connection."""

    actor: Actor
    spec: PolicySpec
    form: Form
    about: Mapping[str, Any]

    def metadata(self) -> dict[str, Any]:
        """What a client is told on connection: names, sizes, and that a draw's seed may be named."""
        spec, form = self.spec, self.form
        names = {"state": form.state, "prompt": form.prompt, "actions": form.actions}
        return {
            **self.about,
            "names": {**names, "cameras": {name: form.camera(name) for name in spec.cameras}},
            "image_size": spec.image_size,
            "state_dim": spec.proprio_dim,
            "action_dim": spec.action_dim,
            "action_horizon": spec.action_horizon,
            "takes_seed": True,
        }

    def chunk(self, content: Mapping[str, Any]) -> np.ndarray:
        """The action chunk float32 [H, A] for what a message shows.

        Raises:
            UserError: it is not what the policy reads.
        """
        observation = self.form.observation(content, self.spec.cameras)
        return self.actor.act(observation, np.array([_seed(content)], np.int64))[0]


class PolicyServer:
    """Serves one policy to many clients; it computes for one at a time, in a thread of its own."""

    def __init__(self, served: Served, binding: Binding) -> None:
        require_library()
        self._served, self._binding, self._key = served, binding, binding.key()
        self._metadata = pack(served.metadata())
        self._clients = 0
        self._worker = ThreadPoolExecutor(1, "policy")

    async def run(self, ready: Callable[[str], object], stop: asyncio.Event) -> None:
        """Listen until `stop` is set.

        Args:
            ready: called with the address once connections are taken.

        Raises:
            UserError: the address cannot be listened at.
        """
        from websockets.asyncio.server import serve

        binding = self._binding
        try:
            server = await serve(
                self._talk,
                binding.host,
                binding.port,
                process_request=self._admit,
                compression=None,
                max_size=binding.max_bytes,
                max_queue=1,
                ping_timeout=60,
                server_header=None,
            )
        except OSError as error:
            raise binding.not_bound(error) from error
        try:
            async with server:
                ready(binding.url("ws", server.sockets[0].getsockname()[1]))
                await stop.wait()
        finally:
            self._worker.shutdown(cancel_futures=True)

    def _admit(self, connection: Any, request: Any) -> Any:
        """A response for who asks how the server is, has no key, or is one too many; None for who may talk."""
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if not allowed(request.headers.get("Authorization"), self._key):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "a key is needed: Api-Key …\n")
        if self._clients >= self._binding.clients:
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many clients; try later\n")
        return None

    async def _talk(self, connection: Any) -> None:
        """One client's connection, from the metadata to its end."""
        from websockets.exceptions import ConnectionClosed

        self._clients += 1
        try:
            await connection.send(self._metadata)
            before: float | None = None
            async for message in connection:
                began = time.monotonic()
                answer, fine = await self._answer(message, before)
                await connection.send(answer)
                if not fine:
                    await connection.close(1011, "see the text before")
                    return
                before = time.monotonic() - began
        except ConnectionClosed:
            pass  # the client is gone, or sent more than is taken
        finally:
            self._clients -= 1

    async def _answer(self, message: str | bytes, before: float | None) -> tuple[str | bytes, bool]:
        """The answer to a message, and whether the connection is to go on."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._worker, self._infer, message, before), True
        except UserError as error:
            return " ".join(str(error).split()), False
        except Exception as error:  # a defect of the policy's: told, printed, and the others are served on
            print("".join(traceback.format_exception(error)), file=sys.stderr)
            return f"the policy failed: {type(error).__name__}: {error}", False

    def _infer(self, message: str | bytes, before: float | None) -> str | bytes:
        content = unpack_map(message)
        endpoint = content.pop(ENDPOINT, "infer")
        if endpoint == "reset":
            return RESET_DONE  # our policies remember nothing
        if endpoint != "infer":
            raise MalformedMessage(f"{ENDPOINT!r} must be infer or reset")
        began = time.monotonic()
        chunk = self._served.chunk(content)
        timing = {"infer_ms": 1000 * (time.monotonic() - began)}
        if before is not None:
            timing["prev_total_ms"] = 1000 * before
        return pack({self._served.form.actions: chunk, "server_timing": timing})


def _seed(content: Mapping[str, Any]) -> int:
    """What a draw is made with: what the client says, else chance."""
    if SEED not in content:
        return int(np.random.default_rng().integers(2**31))
    seed = content[SEED]
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise MalformedMessage(f"{SEED!r} must be a whole number from 0 to 2³¹ − 1")
    return int(seed)
