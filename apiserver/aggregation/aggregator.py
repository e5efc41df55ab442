"""Hands versions of groups over to extension servers; nothing is behind it until an APIService names a Service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

from apiserver.aggregation.index import ApiServices, Extension
from apiserver.front_proxy import FrontProxy
from apiserver.request_info import RequestInfo, User
from apiserver.rest.cluster import StoredCluster
from apiserver.rest.own_writes import OwnWrites
from apiserver.storage.store import Store

if TYPE_CHECKING:
    from apiserver.aggregation.asking import Asking
    from apiserver.aggregation.forwarding import Forwarding
    from apiserver.aggregation.upkeep import Upkeep


class Aggregator:
    """What the server asks of this package."""

    def __init__(
        self, store: Store, services: ApiServices, own: OwnWrites, proxies: FrontProxy, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._services = services
        self._own = own
        self._proxies = proxies
        self._now = now
        # What works once there is an extension server.
        self._parts: tuple[Asking, Upkeep, Forwarding] | None = None
        self._needed = asyncio.Event()
        self.find = services.find
        services.listen(lambda _: self._look())
        self._look()

    def _look(self) -> None:
        if self._services.extensions:
            self._needed.set()

    async def serve(
        self, http: web.BaseRequest, info: RequestInfo, user: User, extension: Extension
    ) -> web.StreamResponse:
        """Answer with what an extension server answers. Raises ApiError."""
        _, _, forwarding = self._made()
        return await forwarding.serve(http, info, user, extension)

    async def run(self) -> None:
        """Follow what extension servers do, once there is one, until cancelled."""
        await self._needed.wait()
        asking, upkeep, _ = self._made()
        try:
            await upkeep.run()
        finally:
            await asking.close()

    async def close(self) -> None:
        """Close the connections over which users are answered, which ends what runs over them."""
        if self._parts is not None:
            await self._parts[2].close()

    def _made(self) -> tuple[Asking, Upkeep, Forwarding]:
        if self._parts is None:
            from apiserver.aggregation.asking import Asking
            from apiserver.aggregation.forwarding import Forwarding
            from apiserver.aggregation.upkeep import Upkeep

            cluster = StoredCluster(self._store)
            asking = Asking(cluster, self._proxies)
            upkeep = Upkeep(self._store, cluster, self._services, self._own, asking, self._now)
            self._parts = asking, upkeep, Forwarding(asking, upkeep.doubt)
        return self._parts
