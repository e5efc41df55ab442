"""Controllers at work on a staged API, under a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from apiclient.events import EventRecorder
from controllers.context import Context, Controller, Informers, Options, run_controller
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi


@asynccontextmanager
async def running(
    api: StagedApi, clock: ManualClock, *makers: Callable[[Context], Controller], patience: float | None = None
) -> AsyncIterator[None]:
    """Some controllers at work on a staged API."""
    client: Any = api
    informers = Informers(client, client, clock=clock)
    context = Context(client, client, informers, EventRecorder(client, "test", clock=clock), clock, Options())
    controllers = [make(context) for make in makers]
    try:
        async with asyncio.TaskGroup() as group:
            informers.start(group)
            for controller in controllers:
                group.create_task(
                    run_controller("test", controller, workers=2, clock=clock, patience_seconds=patience)
                )
            await clock.settle()
            yield
            raise _Over
    except* _Over:
        pass


class _Over(Exception):
    """The test is over: ends all tasks of its group."""
