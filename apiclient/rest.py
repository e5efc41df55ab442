"""The REST client: verbs on resources, errors as `ApiError`, watches as async iterators.

One client is one connection pool. Every request has a time limit; a server that can't be reached is an
`ApiUnavailable`, which callers treat as any other error that will pass. Of requests a limited number is under way
at once; watches and other streams don't count among them, since they hold their connections for as long as they
live: a node that watches many objects must still be able to renew its lease.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, urlsplit

import orjson

from apiclient.answers import ApiUnavailable as ApiUnavailable
from apiclient.answers import Lines, created, decoded, refusal
from apiclient.connections import REPEATABLE, Answer, Check, Pool
from apiclient.http1 import header_lines, request_line
from apiclient.kubeconfig import Config, KubeconfigError
from apiclient.tls import client_context
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import Resource

if TYPE_CHECKING:
    from apiclient.websocket import WebSocket

REQUEST_TIMEOUT_SECONDS = 30.0
# A server sends a bookmark a minute; silence for longer than this means that the connection is dead.
WATCH_SILENCE_SECONDS = 90.0
REQUESTS_MAX = 64
# From so many requests on, those that can wait do.
BUSY_REQUESTS = 8
# What is created by one request: what one object of them waits for, all of them do.
LISTED_MAX = 64
JSON = "application/json"
_SENDS_JSON = {"Content-Type": JSON}
# Objects without metadata.managedFields, which are of no use here; a server that doesn't know how sends them along.
_OBJECTS = f"{JSON};managedFields=omit"
# Metadata alone, and whole objects from a server that can't cut them down.
_METADATA = f"{_OBJECTS};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{_OBJECTS}"
_METADATA_LIST = f"{_OBJECTS};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{_OBJECTS}"
PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
# A refusal is a short text or a Status object.
REFUSAL_BYTES_MAX = 1 << 20
_SAFE = "/?&=%:@!$'()*+,;~"
_PLAIN = re.compile(r"[A-Za-z0-9_.~/?&=%:@!$'()*+,;-]*")
Params = Mapping[str, str] | Sequence[tuple[str, str]]
# Is told of an answer: method, status, and seconds since the request; of one that did not come the status is <error>.
Observer = Callable[[str, str, float], None]
NO_ANSWER = "<error>"


class Client:
    """A connection to one API server as one user."""

    def __init__(
        self,
        pool: Pool,
        server: str,
        fields: Sequence[tuple[str, str]],
        *,
        metadata_only: bool = False,
        requests_max: int = REQUESTS_MAX,
    ) -> None:
        """`fields` are the header fields of every request."""
        self.server = server
        self._pool = pool
        self._path = urlsplit(server).path.rstrip("/")
        self._fields = header_lines(fields)
        self._accept = _METADATA if metadata_only else _OBJECTS
        self._accept_lists = {"Accept": _METADATA_LIST} if metadata_only else None
        self._slots = asyncio.Semaphore(requests_max)
        self._takes_lists = True
        self._under_way = 0
        self._calm = asyncio.Event()
        self._calm.set()
        self._check: Check | None = None
        self._observer: Observer | None = None

    @classmethod
    async def connect(
        cls,
        config: Config,
        *,
        user_agent: str = "wherry",
        metadata_only: bool = False,
        requests_max: int = REQUESTS_MAX,
    ) -> Client:
        """A client for this configuration; nothing is sent yet. `metadata_only`: answers need not hold more."""
        url = urlsplit(config.server)
        try:
            host, port = url.hostname, url.port
        except ValueError as error:
            raise KubeconfigError(f"the server {config.server!r} is no URL: {error}") from error
        if url.scheme not in ("http", "https") or not host:
            raise KubeconfigError(f"the server {config.server!r} is no URL such as https://10.0.0.1:6443")
        fields = [("Host", url.netloc.rpartition("@")[2]), ("User-Agent", user_agent)]
        if config.token:
            fields.append(("Authorization", f"Bearer {config.token}"))
        tls = client_context(config) if url.scheme == "https" else None
        pool = Pool(host, port or (443 if tls else 80), tls, server_name=config.tls_server_name)
        try:
            return cls(pool, config.server, fields, metadata_only=metadata_only, requests_max=requests_max)
        except ValueError as error:
            raise KubeconfigError(f"{config.context or config.server}: {error}") from error

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    def write_while(self, leads: Callable[[], bool]) -> None:
        """From now on write only as long as this process `leads`; any other attempt is an ApiError 503.

        Who was stopped in the middle of something, and goes on when somebody else leads already, must not get as far
        as the server: what was decided then may not be true any more.
        """

        def check() -> None:
            if not leads():
                raise ApiError(503, "ServiceUnavailable", "nothing is written any more: this process leads no longer")

        self._check = check

    def observe(self, observer: Observer) -> None:
        """Tell of each answer, from now on."""
        self._observer = observer

    @property
    def is_calm(self) -> bool:
        """Whether few requests are under way."""
        return self._calm.is_set()

    async def calm(self) -> None:
        """Wait until few requests are under way: for whoever has some that can wait."""
        await self._calm.wait()

    async def create_each(
        self, resource: Resource, objects: Sequence[Object], namespace: str | None = None
    ) -> list[Object | ApiError]:
        """Create up to LISTED_MAX objects by one request: of each at least its `metadata`, or the error.

        One by one is how a server without lists gets them, as Kubernetes' own, and what is too large together.
        """
        if self._takes_lists and len(objects) > 1:
            listed = {"kind": "List", "apiVersion": "v1", "items": objects}
            try:
                path, body = resource.path(namespace), orjson.dumps(listed)
                _, _, data = await self.request("POST", path, body=body, headers=_SENDS_JSON, stands_for=len(objects))
            except ApiError as error:
                if error.code not in (400, 413):
                    return [error] * len(objects)
                self._takes_lists = error.code == 413
            else:
                return [created(status, namespace) for status in decoded(self.server, data)["items"]]
        return await asyncio.gather(*(self._attempt(resource, obj, namespace) for obj in objects))

    async def _attempt(self, resource: Resource, obj: Object, namespace: str | None) -> Object | ApiError:
        try:
            return await self.create(resource, obj, namespace)
        except ApiError as error:
            return error

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
        return decoded(self.server, data)

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
        answer = await self._open(resource.path(namespace), params, None, WATCH_SILENCE_SECONDS)
        lines = Lines()
        try:
            while piece := await self._piece(answer):
                for line in lines.feed(piece):
                    event = decoded(self.server, line)
                    try:
                        kind, obj = event["type"], event["object"]
                    except KeyError as error:
                        raise ValueError(f"its watch event has no {error}") from error
                    if kind == "ERROR":
                        raise ApiError.from_status(obj)
                    yield kind, obj
        except ValueError as error:
            raise ApiUnavailable(self.server, error) from error
        finally:
            answer.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        stands_for: int = 1,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """A request as it is: (status, headers, body). Raises ApiError for an answer of 400 and more.

        `stands_for` is how many requests it would take to ask for the same one by one.
        """
        head = self._head(method, path, params, headers, body)
        began, code = asyncio.get_running_loop().time(), NO_ANSWER
        self._under_way += stands_for
        if self._under_way >= BUSY_REQUESTS:
            self._calm.clear()
        try:
            async with self._slots:
                status, fields, data = await self._pool.request(
                    method,
                    head,
                    body or b"",
                    seconds=REQUEST_TIMEOUT_SECONDS,
                    check=None if method in REPEATABLE else self._check,
                )
            code = str(status)
        except OSError as error:
            raise ApiUnavailable(self.server, error) from error
        finally:
            self._under_way -= stands_for
            if self._under_way < BUSY_REQUESTS:
                self._calm.set()
            if self._observer is not None:
                self._observer(method, code, asyncio.get_running_loop().time() - began)
        if status >= 400:
            raise refusal(status, data)
        return status, fields, data

    async def stream(
        self, path: str, params: Params | None = None, *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[bytes]:
        """The body of a GET in pieces as they arrive; no limit but on how long a watch may be silent."""
        silence = WATCH_SILENCE_SECONDS if "watch" in dict(params or {}) else math.inf
        answer = await self._open(path, params, headers, silence)
        try:
            while piece := await self._piece(answer):
                yield piece
        finally:
            answer.close()

    async def websocket(self, path: str, params: Sequence[tuple[str, str]], protocols: Sequence[str]) -> WebSocket:
        """An open WebSocket. Raises ApiError with what the server said instead."""
        from apiclient import websocket

        key = websocket.new_key()
        head = self._head("GET", path, params, websocket.request_fields(key, protocols), None)
        try:
            status, fields, data, transport = await self._pool.upgrade(head, seconds=REQUEST_TIMEOUT_SECONDS)
            if transport is not None:
                return websocket.WebSocket(transport, fields, key, received=data)
        except OSError as error:
            raise ApiUnavailable(self.server, error) from error
        raise refusal(status, data)

    def _head(
        self,
        method: str,
        path: str,
        params: Params | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> bytes:
        line = request_line(method, self._target(path, params))
        accept = "" if headers and "Accept" in headers else f"Accept: {self._accept}\r\n"
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        more = header_lines(headers.items()) if headers else b""
        return b"".join((line, self._fields, accept.encode(), length.encode(), more))

    def _target(self, path: str, params: Params | None) -> str:
        path = self._path + (path if _PLAIN.fullmatch(path) else quote(path, safe=_SAFE))
        if not params:
            return path
        pairs = params.items() if isinstance(params, Mapping) else params
        query = "&".join([f"{quote_plus(key)}={quote_plus(value)}" for key, value in pairs])
        return f"{path}{'&' if '?' in path else '?'}{query}"

    async def _open(
        self, path: str, params: Params | None, headers: Mapping[str, str] | None, silence_seconds: float
    ) -> Answer:
        """A stream whose head is there. Raises ApiError."""
        head = self._head("GET", path, params, headers, None)
        began, code = asyncio.get_running_loop().time(), NO_ANSWER
        try:
            answer = await self._pool.stream(
                head, head_seconds=REQUEST_TIMEOUT_SECONDS, silence_seconds=silence_seconds
            )
            code = str(answer.status)
        except OSError as error:
            raise ApiUnavailable(self.server, error) from error
        finally:
            if self._observer is not None:
                self._observer("GET", code, asyncio.get_running_loop().time() - began)
        if answer.status < 400:
            return answer
        try:
            told = b""
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                while len(told) < REFUSAL_BYTES_MAX and (piece := await self._piece(answer)):
                    told += piece
        except TimeoutError as error:
            raise ApiUnavailable(self.server, error) from error
        finally:
            answer.close()
        raise refusal(answer.status, told)

    async def _piece(self, answer: Answer) -> bytes:
        try:
            return await answer.piece()
        except OSError as error:
            raise ApiUnavailable(self.server, error) from error

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
        return decoded(self.server, data)


def _selection(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    params = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in params.items() if value}
