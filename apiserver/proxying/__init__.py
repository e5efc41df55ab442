"""What others answer in this server's place, having been asked by it: node agents, pods, services.

Who asks has been authenticated and authorized before; nothing of their credentials is passed on. All of it is
imported when the first asks for it.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from aiohttp import web

from apiserver.admission.plugin import Cluster
from apiserver.request_info import RequestInfo

if TYPE_CHECKING:
    from apiserver.proxying.serve import Proxies

__all__ = ["Proxying"]


class Proxying:
    """Serves the subresources that are not answered here."""

    def __init__(self, cluster: Cluster, tls: ssl.SSLContext) -> None:
        """`tls` trusts the cluster's authority and shows this server's client certificate."""
        self._cluster = cluster
        self._tls = tls
        self._proxies: Proxies | None = None

    async def serve(self, http: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        """Answer a request for one of these subresources. Raises ApiError."""
        if self._proxies is None:
            from apiserver.proxying.serve import Proxies

            self._proxies = Proxies(self._cluster, self._tls)
        return await self._proxies.serve(http, info)

    async def close(self) -> None:
        """Close the connections to others, which ends what runs over them."""
        if self._proxies is not None:
            await self._proxies.close()
