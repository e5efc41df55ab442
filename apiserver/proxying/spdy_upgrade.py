"""Turns a request into a SPDY connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from apimachinery.errors import ApiError
from apiserver.logs import kv
from apiserver.proxying.channels import words
from apiserver.spdy import Carrier, Session
from apiserver.spdy.frames import FrameError
from apiserver.upgrade import answered, take_over

log = logging.getLogger(__name__)

SPDY = "SPDY/3.1"
VERSION_HEADER = "X-Stream-Protocol-Version"
# How long the client may take to end the connection when everything is told.
CLOSE_SECONDS = 5.0

Converse = Callable[[Session], Awaitable[None]]


def wants_spdy(http: web.BaseRequest) -> bool:
    """Whether a client asks for SPDY."""
    upgrade = http.headers.get("Upgrade", "").lower()
    return upgrade == SPDY.lower() and "upgrade" in http.headers.get("Connection", "").lower()


def negotiate(http: web.BaseRequest, versions: Sequence[str]) -> str:
    """The protocol to speak inside: the first that the client offers and we know. Raises ApiError 403."""
    offered = [word for header in http.headers.getall(VERSION_HEADER, ()) for word in words(header)]
    if not offered:
        return versions[-1]  # clients from before there were versions
    for version in offered:
        if version in versions:
            return version
    told = (
        f"unable to upgrade: unable to negotiate protocol: client supports {offered}, server accepts {list(versions)}"
    )
    raise ApiError(403, "Forbidden", told)


async def serve(http: web.BaseRequest, version: str, converse: Converse) -> web.StreamResponse:
    """Accept the client, and converse with it. The answer is sent with that: nothing is raised any more."""
    headers = [("Connection", "Upgrade"), ("Upgrade", SPDY), (VERSION_HEADER, version)]
    upgraded = take_over(http, headers)
    try:
        await converse_over(upgraded, converse, http.path)
    finally:
        upgraded.close()
    return answered()


async def converse_over(carrier: Carrier, converse: Converse, path: str) -> None:
    """Converse until that ends or the client does; who has been told everything ends the connection itself."""
    session = Session(carrier)
    reading, talking = asyncio.create_task(session.run()), asyncio.ensure_future(_talk(session, converse, path))
    try:
        await asyncio.wait({reading, talking}, return_when=asyncio.FIRST_COMPLETED)
        if talking.done():
            await asyncio.wait({reading}, timeout=CLOSE_SECONDS)
        else:
            # Whoever reads or writes a stream hears that the client is gone.
            await asyncio.wait({talking}, timeout=CLOSE_SECONDS)
    finally:
        reading.cancel()
        talking.cancel()
        for result in await asyncio.gather(reading, talking, return_exceptions=True):
            if isinstance(result, FrameError):
                log.info(kv("client speaks no SPDY", path=path, error=result))
            elif isinstance(result, Exception):
                log.error(kv("conversation failed", path=path), exc_info=result)


async def _talk(session: Session, converse: Converse, path: str) -> None:
    try:
        await converse(session)
    except (ConnectionError, TimeoutError) as error:
        log.debug(kv("conversation ended", path=path, error=error))
