"""Where a server listens, whom it lets in, and how much it takes from them."""

from __future__ import annotations

import asyncio
import errno
import hmac
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from envs.errors import UserError
from experiments.settings.config import require

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Binding:
    """The settings that every server has."""

    host: str = "127.0.0.1"  # 0.0.0.0 for all networks
    port: int = 8000  # 0: any free one
    key_variable: str = ""  # the environment variable with the key that clients must send; empty: none
    max_megabytes: int = 32  # of a request
    clients: int = 32  # served at once; more are sent away

    def __post_init__(self) -> None:
        require(0 <= self.port < 2**16, f"bind.port={self.port} must be from 0 to 65535")
        require(self.max_megabytes >= 1, f"bind.max_megabytes={self.max_megabytes} must be at least 1")
        require(self.clients >= 1, f"bind.clients={self.clients} must be at least 1")

    @property
    def max_bytes(self) -> int:
        """Of a request."""
        return self.max_megabytes * 2**20

    def key(self) -> str:
        """The key that clients must send; empty: none.

        Raises:
            UserError: it is named but not there.
        """
        key = os.environ.get(self.key_variable, "") if self.key_variable else ""
        require(
            bool(key) or not self.key_variable,
            f"bind.key_variable={self.key_variable}: there is no such environment variable",
        )
        return key

    def url(self, scheme: str, port: int) -> str:
        """The address under which it can be reached from this machine."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{port}"

    def warning(self) -> str:
        """What to say before listening beyond this machine; empty: nothing."""
        if self.host in LOOPBACK or self.key_variable:
            return ""
        return f"warning: whoever reaches {self.host} may use this server; bind.key_variable=… asks for a key"

    def not_bound(self, error: OSError) -> UserError:
        """The error for an address that cannot be listened at."""
        if error.errno == errno.EADDRINUSE:
            return UserError(
                f"port {self.port} of {self.host} is in use; choose another: bind.port=… (0: any)"
            )
        return UserError(
            f"cannot listen at {self.host}:{self.port} ({error.strerror or error}); mend bind.host"
        )


def allowed(header: str | None, key: str) -> bool:
    """Whether a request's `Authorization` header carries the key, as `Api-Key …` (openpi) or `Bearer …`."""
    if not key:
        return True
    scheme, _, given = (header or "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), key.encode())
    return same and scheme.lower() in ("api-key", "bearer")


def run_until_stopped(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Serve until the process is interrupted or asked to end, then close in order."""

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await serve(stop)
        print("stopped", file=sys.stderr)

    asyncio.run(main())
