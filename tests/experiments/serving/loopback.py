"""Servers in a thread of the test."""

import asyncio
import contextlib
import threading


@contextlib.contextmanager
def serving(run):
    """What `run(ready, stop)` serves, in a thread; yields its address."""
    box, listening = {}, threading.Event()

    async def main():
        box["loop"], box["stop"] = asyncio.get_running_loop(), asyncio.Event()

        def ready(url):
            box["url"] = url
            listening.set()

        await run(ready, box["stop"])

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert listening.wait(10)
    yield box["url"]
    box["loop"].call_soon_threadsafe(box["stop"].set)
    thread.join(10)
    assert not thread.is_alive()
