"""A client's connection: who its certificate says it is, looked at once; HTTP's own errors as `Status` objects."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from apimachinery.errors import ApiError, bad_request, internal
from apiserver.logs import kv
from apiserver.request_info import AUTHENTICATED, User
from apiserver.responses import error_response
from apiserver.upgrade import answered

log = logging.getLogger(__name__)

# So many sessions of TLS 1.2 may be taken up again.
SESSIONS_MAX = 1024
_DER = 2  # _ssl.ENCODING_DER


@dataclass(frozen=True, slots=True)
class Certified:
    """Who a client certificate says that its holder is, and until when that holds (seconds since 1970).

    `client`: it is of the authority of clients; `proxy`: its holder may name the users that it asks for.
    """

    user: User
    expires: float
    client: bool = True
    proxy: bool = False


class Trusted:
    """The authorities (as DER) of clients and of proxies, and the common names that proxies may have: any if none."""

    def __init__(
        self, clients: frozenset[bytes], proxies: frozenset[bytes] = frozenset(), proxy_names: Sequence[str] = ()
    ) -> None:
        self._clients = clients
        self._proxies = proxies
        self._proxy_names = proxy_names
        self._sessions: dict[bytes, bytes] = {}

    def certified(self, transport: asyncio.BaseTransport) -> Certified | None:
        """What the certificate of a connection is good for; None if there is none, or if it names nobody."""
        found = certified(transport.get_extra_info("peercert"))
        if found is None:
            return None
        anchor = self._anchor(transport.get_extra_info("ssl_object"))
        named = not self._proxy_names or found.user.name in self._proxy_names
        return replace(found, client=anchor in self._clients, proxy=named and anchor in self._proxies)

    def _anchor(self, tls: ssl.SSLObject) -> bytes | None:
        """The authority by which a client's certificate was verified; None if that is not known any more.

        A connection of TLS 1.2 may take up the session of an earlier one, in which that was done. In later versions
        only a ticket can do so, and tickets are switched off.
        """
        session = tls.session
        anchor = _verified_by(tls)
        if session is None or tls.version() != "TLSv1.2":
            return anchor
        if anchor is None:
            return self._sessions.get(session.id)
        if len(self._sessions) >= SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[session.id] = anchor
        return anchor


def _verified_by(tls: Any) -> bytes | None:
    """The end of the chain that was verified in this connection."""
    if hasattr(tls, "get_verified_chain"):
        chain = tls.get_verified_chain()
        return bytes(chain[-1]) if chain else None
    chain = tls._sslobj.get_verified_chain()  # before Python 3.13 it has no name of its own
    return bytes(chain[-1].public_bytes(_DER)) if chain else None


def certified(peer: Mapping[str, Any] | None) -> Certified | None:
    """Read a verified client certificate in the form of `ssl`; None if there is none, or if it names nobody."""
    if not peer:
        return None
    names: dict[str, list[str]] = {}
    for kind, value in (pair for entry in peer["subject"] for pair in entry):
        names.setdefault(kind, []).append(value)
    if not names.get("commonName"):
        return None
    # Of several names the last one counts, as for whoever decides which certificates are signed.
    user = User(names["commonName"][-1], groups=(*names.get("organizationName", ()), AUTHENTICATED))
    return Certified(user, ssl.cert_time_to_seconds(peer["notAfter"]))


class Connection(web.RequestHandler):
    """aiohttp's protocol of a connection, with what we know of its other end."""

    __slots__ = ("_trusted", "certified")

    def __init__(self, manager: web.Server, *, trusted: Trusted, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._trusted = trusted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS has been agreed on, so the certificate is known."""
        self.certified = self._trusted.certified(transport)
        super().connection_made(transport)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP that we understand; of handlers' own errors only one comes this far."""
        if isinstance(exc, ConnectionError):
            # An answer was broken off: to whoever reads it, only the end of the connection tells that.
            log.debug(kv("an answer was broken off", path=request.path, reason=exc))
            return answered()
        if status == 400:
            error: ApiError = bad_request(message or "Bad Request")
        else:
            log.error(kv("connection failed", error=exc or message), exc_info=exc)
            error = internal(message or "the connection could not be served")
        response = error_response(error)
        response.force_close()
        return response
