"""A request as flow control sees it: how wide it is, whose flow it is of, and whether it waits or runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from apiserver.request_info import RequestInfo, User

if TYPE_CHECKING:
    from apiserver.flowcontrol.flows import Flow
    from apiserver.flowcontrol.queues import Queue

ARRIVED, WAITS, RUNS, ENDED = "arrived", "waits", "runs", "ended"


class Request:
    """`async with` waits for its seats and holds them. Raises ApiError 429 on entering.

    `width` is how many seats it takes. `arrived` and `began` are moments of the level's clock; the first is set if it
    has to wait, as are `queue` and `ready`, the future that it waits for.
    """

    __slots__ = ("arrived", "began", "flow", "info", "level", "queue", "ready", "state", "user", "width")

    def __init__(self, flow: Flow, user: User, info: RequestInfo, width: int) -> None:
        self.flow = flow
        # Said here, since another level may be put in its place while the request runs.
        self.level = flow.schema.level
        self.user = user
        self.info = info
        self.width = width
        self.arrived = self.began = 0.0
        self.queue: Queue | None = None
        self.ready: asyncio.Future[None] | None = None
        self.state = ARRIVED

    async def __aenter__(self) -> None:
        if not self.level.admit(self):
            await self.level.wait(self)

    async def __aexit__(self, *_: object) -> None:
        self.level.leave(self)
