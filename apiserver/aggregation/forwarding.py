"""Passes requests of users on to extension servers, and says who asks."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiohttp import web

from apimachinery.errors import ApiError, internal, service_unavailable, too_many_requests
from apiserver.aggregation.asking import Asking
from apiserver.aggregation.index import Extension
from apiserver.front_proxy import naming
from apiserver.logs import kv
from apiserver.metrics import is_long_running
from apiserver.proxying.reverse import ReverseProxy, Target
from apiserver.proxying.targets import Place
from apiserver.request_info import RequestInfo, User

log = logging.getLogger(__name__)

# So many requests, watches not counted, may wait for one server: one that hangs must not gather all that come.
RUNNING_MAX = 400
UNAVAILABLE = "service unavailable"


class Forwarding:
    """Passes requests on."""

    def __init__(self, asking: Asking, doubt: Callable[[Extension], None]) -> None:
        """`doubt` is told of a server that could not be reached."""
        self._asking = asking
        self._doubt = doubt
        self._reverse = ReverseProxy()

    async def close(self) -> None:
        """Close the connections to others, which ends what runs over them."""
        await self._reverse.close()

    async def serve(
        self, http: web.BaseRequest, info: RequestInfo, user: User, extension: Extension
    ) -> web.StreamResponse:
        """Answer with what an extension server answers. Raises ApiError 429, 500, 502 and 503."""
        if not extension.available:
            raise service_unavailable(UNAVAILABLE)
        if is_long_running(info):
            return await self._forward(http, user, extension)
        if extension.running >= RUNNING_MAX:
            raise too_many_requests("too many requests wait for this API's server, please try again later", 1)
        extension.running += 1
        try:
            return await self._forward(http, user, extension)
        finally:
            extension.running -= 1

    async def _forward(self, http: web.BaseRequest, user: User, extension: Extension) -> web.StreamResponse:
        where = extension.where
        try:
            host, port = self._asking.places(where, many=1)[0]
        except ApiError as error:
            log.info(kv("an extension server has no address", of=extension.name, error=error))
            raise service_unavailable(UNAVAILABLE) from error
        try:
            tls = self._asking.tls(where)
        except (OSError, ValueError) as error:
            raise internal(f"no TLS to the server of {extension.name} is possible: {error}") from error
        place, served_as = Place("https", host, port), f"{where.host}:{where.port}"
        target = Target(place, http.raw_path, tls, server_name=where.host, host=served_as)
        try:
            return await self._reverse.forward(http, target, headers=naming(user), redirects=False)
        except ApiError as error:
            if error.code == 503:
                self._doubt(extension)
            raise
