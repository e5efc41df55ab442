"""Stands in for scheduler and node agents while commands run that block: every pod is ready at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.apiserver import ApiServerProcess
from tests.support.manager import node_agent

END_SECONDS_MAX = 60


@contextmanager
def pods_run_at_once(server: ApiServerProcess) -> Iterator[None]:
    """Have all pods of all namespaces run, from a thread of its own."""
    begun, end = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with await server.client() as client, node_agent(client, ""):
            begun.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="instant-nodes")
    thread.start()
    try:
        assert begun.wait(END_SECONDS_MAX)
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(END_SECONDS_MAX)
        loop.close()
