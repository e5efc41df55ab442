"""Connections to extension servers, over which this server shows the certificate of a front proxy.

A Service is reached at its endpoints (`apiserver.service_resolver`); the server's certificate must be for
`NAME.NAMESPACE.svc`, by the authority that the APIService names, unless that does not ask for it.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from functools import cached_property
from typing import NamedTuple

import aiohttp
from yarl import URL

from apimachinery.errors import ApiError
from apiserver.admission.plugin import Cluster
from apiserver.aggregation.index import Where
from apiserver.front_proxy import FrontProxy, naming
from apiserver.proxying.reverse import dial_error
from apiserver.request_info import User
from apiserver.service_resolver import addresses
from apiserver.webhook_client import make_trust

CONNECT_SECONDS = 5.0
KEEP_SECONDS = 60.0
ANSWER_BYTES_MAX = 32 << 20
CONTEXTS_MAX = 256
MASTERS = "system:masters"
# Whom this server names where it asks of its own accord.
AGGREGATOR = User("system:kube-aggregator", groups=(MASTERS,))
READER_OF_SCHEMAS = User("system:aggregator")


class Unanswered(Exception):
    """Nothing was answered that could be used; the message says why."""


class Answer(NamedTuple):
    """What was answered, and what tells whether it has changed since."""

    status: int
    body: bytes
    etag: str


class Asking:
    """Asks extension servers."""

    def __init__(self, cluster: Cluster, proxies: FrontProxy) -> None:
        self._cluster = cluster
        self._proxies = proxies
        self._contexts: dict[tuple[str, str, bool, int], ssl.SSLContext] = {}

    async def close(self) -> None:
        """Close all connections."""
        if "_session" in self.__dict__:
            await self._session.close()

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        # There are at most a few requests at a time for each APIService.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())

    def places(self, where: Where, *, many: int) -> list[tuple[str, int]]:
        """Where a server may be asked, so many at most, in no order. Raises ApiError 404 and 503."""
        found = sorted(set(addresses(self._cluster, where.namespace, where.name, where.port)))
        return random.sample(found, min(many, len(found)))

    def tls(self, where: Where, *, verify: bool = True) -> ssl.SSLContext:
        """TLS towards a server. Raises ValueError for a bundle that is none, and OSError for files of ours."""
        verify = verify and not where.insecure
        # Certificates are renewed in place: the file's time tells of another one.
        made = self._proxies.certificate.stat().st_mtime_ns
        key = (where.host, where.bundle if verify else "", verify, made)
        context = self._contexts.get(key)
        if context is None:
            if verify:
                context = make_trust(where.bundle)
            else:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.load_cert_chain(self._proxies.certificate, self._proxies.key)
            context.set_alpn_protocols(["http/1.1"])
            if len(self._contexts) >= CONTEXTS_MAX:
                self._contexts.clear()
            self._contexts[key] = context
        return context

    async def get(
        self,
        where: Where,
        path: str,
        *,
        user: User,
        seconds: float,
        accept: str = "application/json",
        etag: str = "",
        place: tuple[str, int] | None = None,
        verify: bool = True,
    ) -> Answer:
        """The answer to a GET, as a user. Raises Unanswered."""
        url = f"https://{where.host}:{where.port}{path}"
        headers = [*naming(user), ("Accept", accept), ("Host", f"{where.host}:{where.port}")]
        headers += [("If-None-Match", etag)] if etag else []
        try:
            async with asyncio.timeout(seconds):
                host, port = place if place is not None else self.places(where, many=1)[0]
                url = str(URL.build(scheme="https", host=host, port=port, path=path))
                return await self._exchange(where, url, headers, self.tls(where, verify=verify))
        except TimeoutError as error:
            raise Unanswered(f'Get "{url}": context deadline exceeded') from error
        except ApiError as error:
            raise Unanswered(error.message) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unanswered(f'Get "{url}": {dial_error(error)}') from error

    async def _exchange(
        self, where: Where, url: str, headers: list[tuple[str, str]], context: ssl.SSLContext
    ) -> Answer:
        async with self._session.get(
            url, headers=headers, ssl=context, server_hostname=where.host, allow_redirects=False
        ) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise ValueError(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
            return Answer(answer.status, bytes(body), answer.headers.get("ETag", ""))
