"""Everything that is no resource: health, version, discovery, OpenAPI, metrics, the keys of tokens. All of it is read
only.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from apimachinery.errors import method_not_allowed, not_acceptable, path_not_found
from apiserver import version
from apiserver.discovery import Discovery, Document, wanted_form
from apiserver.health import Health
from apiserver.metrics import CONTENT_TYPE
from apiserver.request_info import RequestInfo
from apiserver.responses import JSON, ReadyResponse, json_response
from apiserver.serviceaccounts.openid import OpenIDDiscovery

if TYPE_CHECKING:
    from apiserver.openapi import OpenAPI

# What the root tells of besides the documents of discovery.
_OTHERS = (
    *("/.well-known/openid-configuration", "/healthz", "/livez", "/metrics", "/metrics/slis"),
    *("/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"),
)


class Paths:
    """Serves the paths that stand beside the resources."""

    def __init__(
        self,
        *,
        discovery: Discovery,
        openapi: Callable[[], OpenAPI],
        health: Health,
        metrics: Callable[[], bytes],
        openid: OpenIDDiscovery,
        flows: Callable[[str, bool], str | None],
    ) -> None:
        """`openapi` makes what is needed when the first asks for schemas, `metrics` the page of /metrics, and `flows`
        the pages that tell what flow control does.
        """
        self._discovery = discovery
        self._make_openapi = openapi
        self._health = health
        self._metrics = metrics
        self._openid = openid
        self._flows = flows

    async def serve(self, http: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        """Answer a request that was authorized. Raises ApiError 404 and 405."""
        if info.verb not in ("get", "head"):
            raise method_not_allowed()
        match info.path.strip("/").split("/"):
            case [""]:
                return json_response(orjson.dumps({"paths": sorted([*self._discovery.paths(), *_OTHERS])}))
            case [("healthz" | "livez" | "readyz"), *_]:
                return self._health.answer(info.path, http.query)
            case ["metrics"]:
                return web.Response(body=self._metrics(), headers={"Content-Type": CONTENT_TYPE})
            case ["metrics", "slis"]:
                return web.Response(body=self._health.figures(), headers={"Content-Type": CONTENT_TYPE})
            case ["version"]:
                return json_response(version.document())
            case [("api" | "apis"), *_]:
                form = wanted_form(http.headers.get("Accept", ""))
                document = self._discovery.find(info.path, aggregated=form)
                if document is not None:
                    return _document(http, document)
            case [".well-known", "openid-configuration"]:
                return await self._openid.configuration()
            case ["openid", "v1", "jwks"]:
                return await self._openid.keys()
            case ["debug", "api_priority_and_fairness", name]:
                page = self._flows(name, "includeRequestDetails" in http.query)
                if page is not None:
                    return web.Response(text=page)
            case ["openapi", "v2"]:
                return await self._openapi_v2(http)
            case ["openapi", "v3"]:
                return json_response(self._openapi.index())
            case ["openapi", "v3", *steps]:
                return await self._openapi_v3(http, "/".join(steps))
        raise path_not_found()

    @cached_property
    def _openapi(self) -> OpenAPI:
        return self._make_openapi()

    async def _openapi_v2(self, http: web.BaseRequest) -> web.StreamResponse:
        from apiserver.openapi_protobuf import MEDIA_TYPE

        protobuf = "proto-openapi.spec.v2" in http.headers.get("Accept", "").partition(",")[0]
        if not protobuf:
            _refuse_all_but_json(http)
        headers = {"ETag": f'"{self._openapi.hash_2(protobuf=protobuf)}"'}
        if headers["ETag"] in http.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        body = await self._openapi.version_2(protobuf=protobuf)
        return _compressed(http, body, headers, content_type=MEDIA_TYPE if protobuf else JSON)

    async def _openapi_v3(self, http: web.BaseRequest, path: str) -> web.StreamResponse:
        current, wanted = self._openapi.hash(path), http.query.get("hash")
        if current is None:
            raise path_not_found()
        _refuse_all_but_json(http)
        if wanted is None:
            return _compressed(http, await self._openapi.version_3(path), {"ETag": f'"{current}"'})
        if wanted != current:
            return web.Response(status=301, headers={"Location": f"/openapi/v3/{path}?hash={current}"})
        # Under its hash a document never changes.
        return _compressed(http, await self._openapi.version_3(path), {"Cache-Control": "public, immutable"})


def _document(http: web.BaseRequest, document: Document) -> web.Response:
    """The document, or only that the client's copy of it is still good."""
    headers = {"ETag": document.etag, "Vary": "Accept", "Cache-Control": "public"}
    if document.etag in http.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=document.body, headers={**headers, "Content-Type": document.content_type})


def _compressed(
    http: web.BaseRequest, body: bytes, headers: dict[str, str], *, content_type: str = JSON
) -> web.StreamResponse:
    headers = {**headers, "Vary": "Accept-Encoding"}
    if "gzip" in http.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
    else:
        body = gzip.decompress(body)
    return ReadyResponse(body, content_type=content_type, headers=headers.items())


def _refuse_all_but_json(http: web.BaseRequest) -> None:
    """Raises ApiError 406 for a client that understands nothing but protocol buffers."""
    accept = http.headers.get("Accept", "")
    if accept and not any(kind in accept for kind in ("json", "*/*", "application/*")):
        raise not_acceptable("only the following media types are accepted: application/json")
