"""A client's connection: who its certificate says it is, looked at once; HTTP's own errors as `Status` objects."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from apimachinery.errors import ApiError, bad_request, internal
from apiserver.logs import kv
from apiserver.request_info import AUTHENTICATED, User
from apiserver.responses import error_response

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Certified:
    """Who a client certificate says that its holder is, and until when that holds (seconds since 1970)."""

    user: User
    expires: float


def certified(peer: Mapping[str, Any] | None) -> Certified | None:
    """Read a verified client certificate in the form of `ssl`; None if there is none, or if it names nobody."""
    if not peer:
        return None
    names: dict[str, list[str]] = {}
    for kind, value in (pair for entry in peer["subject"] for pair in entry):
        names.setdefault(kind, []).append(value)
    if not names.get("commonName"):
        return None
    user = User(names["commonName"][0], groups=(*names.get("organizationName", ()), AUTHENTICATED))
    return Certified(user, ssl.cert_time_to_seconds(peer["notAfter"]))


class Connection(web.RequestHandler):
    """aiohttp's protocol of a connection, with what we know of its other end."""

    __slots__ = ("certified",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS has been agreed on, so the certificate is known."""
        self.certified = certified(transport.get_extra_info("peercert"))
        super().connection_made(transport)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP that we understand; handlers' own errors never come this far."""
        if status == 400:
            error: ApiError = bad_request(message or "Bad Request")
        else:
            log.error(kv("connection failed", error=exc or message), exc_info=exc)
            error = internal(message or "the connection could not be served")
        response = error_response(error)
        response.force_close()
        return response
