"""The REST client: verbs on resources, errors as `ApiError`, watches as async iterators.

One client is one connection pool. Every request has a time limit; a server that can't be reached is an
`ApiUnavailable`, which callers treat as any other error that will pass. Of requests a limited number is under way
at once; watches and other streams don't count among them, since they hold their connections for as long as they
live: a node that watches many objects must still be able to renew its lease.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from yarl import URL

from apiclient.kubeconfig import Config
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import Resource

REQUEST_TIMEOUT_SECONDS = 30.0
CONNECT_TIMEOUT_SECONDS = 5.0
# A server sends a bookmark a minute; silence for longer than this means that the connection is dead.
WATCH_SILENCE_SECONDS = 90.0
REQUESTS_MAX = 64
LINE_BYTES_MAX = 64 << 20
JSON = "application/json"
# Metadata alone, and whole objects from a server that can't cut them down.
_METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{JSON}"
_METADATA_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}"
PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
Params = Mapping[str, str] | Sequence[tuple[str, str]]


class ApiUnavailable(ApiError):
    """The server could not be reached, or the connection broke before it answered."""

    def __init__(self, server: str, cause: BaseException) -> None:
        why = str(cause) or type(cause).__name__
        super().__init__(503, "ServiceUnavailable", f"the API server at {server} can't be reached: {why}")


class Client:
    """A connection to one API server as one user."""

    def __init__(self, session: aiohttp.ClientSession, server: str, *, accept_lists: str | None = None) -> None:
        self._session = session
        self._accept_lists = {"Accept": accept_lists} if accept_lists else {}
        self._slots = asyncio.Semaphore(REQUESTS_MAX)
        self.server = server

    @classmethod
    async def connect(cls, config: Config, *, user_agent: str = "wherry", metadata_only: bool = False) -> Client:
        """A client for this configuration; nothing is sent yet. `metadata_only`: answers need not hold more."""
        headers = {"User-Agent": user_agent, "Accept": _METADATA if metadata_only else JSON}
        if config.token:
            headers["Authorization"] = f"Bearer {config.token}"
        connector = aiohttp.TCPConnector(ssl=_tls(config), limit=0)
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS, sock_connect=CONNECT_TIMEOUT_SECONDS)
        session = aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout, auto_decompress=True)
        return cls(session, config.server, accept_lists=_METADATA_LIST if metadata_only else None)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def get(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
        params: Params | None = None,
    ) -> Object:
        """One object."""
        return await self._call("GET", resource.path(namespace, name, subresource), params)

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int | None = None,
        continue_: str | None = None,
        resource_version: str | None = None,
    ) -> Object:
        """The List object of a collection (or of one page of it)."""
        params = _selection(label_selector, field_selector)
        if limit:
            params["limit"] = str(limit)
        if continue_:
            params["continue"] = continue_
        if resource_version is not None:
            params["resourceVersion"] = resource_version
        _, _, data = await self.request("GET", resource.path(namespace), params=params, headers=self._accept_lists)
        return _decoded(self.server, data)

    async def create(
        self,
        resource: Resource,
        obj: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
        params: Params | None = None,
    ) -> Object:
        """Create an object, or post to a subresource of `name`."""
        scope = namespace or (obj.get("metadata") or {}).get("namespace")
        return await self._call("POST", resource.path(scope, name, subresource), params, obj)

    async def update(
        self, resource: Resource, obj: Object, *, subresource: str | None = None, params: Params | None = None
    ) -> Object:
        """Replace an object; its resourceVersion, if set, must still be the current one."""
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], subresource)
        return await self._call("PUT", path, params, obj)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        kind: str = "merge",
        subresource: str | None = None,
        params: Params | None = None,
    ) -> Object:
        """Patch an object; `kind` is merge, json, strategic or apply."""
        path = resource.path(namespace, name, subresource)
        return await self._call("PATCH", path, params, patch, PATCH_TYPES[kind])

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> Object:
        """Ask for an object's deletion; with `uid` or `resource_version` only of that very one."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy is not None:
            options["propagationPolicy"] = propagation_policy
        wanted = {"uid": uid, "resourceVersion": resource_version}
        if preconditions := {key: value for key, value in wanted.items() if value}:
            options["preconditions"] = preconditions
        return await self._call("DELETE", resource.path(namespace, name), None, options)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        propagation_policy: str | None = None,
    ) -> Object:
        """Ask for the deletion of everything that is selected."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if propagation_policy is not None:
            options["propagationPolicy"] = propagation_policy
        params = _selection(label_selector, field_selector)
        return await self._call("DELETE", resource.path(namespace), params, options)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_seconds: int | None = None,
    ) -> AsyncIterator[tuple[str, Object]]:
        """(type, object) of every change after `resource_version`, bookmarks included, until the server ends it.

        Raises ApiError for an ERROR event (410 when the version is no longer kept).
        """
        params = _selection(label_selector, field_selector)
        params |= {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": resource_version}
        if timeout_seconds is not None:
            params["timeoutSeconds"] = str(timeout_seconds)
        pending = bytearray()
        async for chunk in self.stream(resource.path(namespace), params):
            pending += chunk
            if len(pending) > LINE_BYTES_MAX:
                raise ApiUnavailable(self.server, ValueError("a watch event is too large"))
            if b"\n" not in chunk:
                continue
            *lines, rest = bytes(pending).split(b"\n")
            pending = bytearray(rest)
            for line in lines:
                if line:
                    event = _decoded(self.server, line)
                    if event["type"] == "ERROR":
                        raise ApiError.from_status(event["object"])
                    yield event["type"], event["object"]

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """A request as it is: (status, headers, body). Raises ApiError for an answer of 400 and more."""
        try:
            async with (
                self._slots,
                self._session.request(method, self._url(path), params=params, data=body, headers=headers) as response,
            ):
                data = await response.read()
                if response.status >= 400:
                    raise _error(response.status, data)
                return response.status, response.headers, data
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiUnavailable(self.server, error) from error

    async def stream(
        self, path: str, params: Params | None = None, *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[bytes]:
        """The body of a GET in pieces as they arrive; no limit but on how long a watch may be silent."""
        silence = WATCH_SILENCE_SECONDS if "watch" in dict(params or {}) else None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=silence)
        try:
            async with self._session.get(
                self._url(path), params=params, headers=headers, timeout=timeout
            ) as response:
                if response.status >= 400:
                    raise _error(response.status, await response.read())
                async for chunk in response.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiUnavailable(self.server, error) from error

    async def websocket(
        self, path: str, params: Sequence[tuple[str, str]], protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse:
        """An open WebSocket. Raises ApiError with what the server said instead."""
        url = self._url(path).with_query(list(params))
        try:
            return await self._session.ws_connect(url, protocols=protocols, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as error:
            # The handshake's error carries no body: ask again in plain words for the reason.
            async with self._session.get(url) as response:
                raise _error(error.status, await response.read()) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiUnavailable(self.server, error) from error

    def _url(self, path: str) -> URL:
        return URL(self.server + path)

    async def _call(
        self,
        method: str,
        path: str,
        params: Params | None = None,
        obj: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        body = orjson.dumps(obj) if obj is not None else None
        headers = {"Content-Type": content_type} if body is not None else None
        _, _, data = await self.request(method, path, params=params, body=body, headers=headers)
        return _decoded(self.server, data)


def _selection(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    params = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in params.items() if value}


def _decoded(server: str, data: bytes) -> Object:
    try:
        document: Object = orjson.loads(data)
    except ValueError as error:
        raise ApiUnavailable(server, ValueError(f"its answer is no JSON ({error})")) from error
    return document


def _error(code: int, data: bytes) -> ApiError:
    try:
        document = orjson.loads(data)
    except ValueError:
        document = {"message": data.decode(errors="replace").strip()[:500]}
    return ApiError.from_status(document if isinstance(document, dict) else {}, code)


def _tls(config: Config) -> ssl.SSLContext | bool:
    if not config.server.startswith("https:"):
        return True
    context = ssl.create_default_context(cadata=config.ca_pem)
    if not config.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.client_cert_pem and config.client_key_pem:
        # ssl reads certificates from files only; this one is readable by us alone and gone at once.
        descriptor, path = tempfile.mkstemp(prefix="wherry-client-")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(config.client_cert_pem + "\n" + config.client_key_pem)
            context.load_cert_chain(path)
        finally:
            Path(path).unlink()
    return context
