"""A small extension API server for tests: one resource, kept in memory, and every way to answer badly."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from apimachinery.meta import Object
from tests.support.certificates import Authority

GROUP, VERSION, KIND, PLURAL = "wardle.example.com", "v1alpha1", "Flunder", "flunders"
GROUP_VERSION, NAME = f"{GROUP}/{VERSION}", f"{VERSION}.{GROUP}"
PATH = f"/apis/{GROUP_VERSION}"
NAMESPACE, SERVICE = "wardle", "api"
VERBS = ["create", "delete", "get", "list", "watch"]
DEFINITION = "com.example.wardle.v1alpha1.Flunder"
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class ExtensionServer:
    """The server: what it was asked, what it holds, and how it misbehaves."""

    def __init__(self, bundle: bytes) -> None:
        self.bundle = base64.b64encode(bundle).decode()
        self.port = 0
        self.requests: list[web.Request] = []
        self.peers: list[Any] = []
        self.objects: dict[tuple[str, str], Object] = {}
        self.watchers: list[asyncio.Queue[Object]] = []
        # Whether discovery is aggregated, and OpenAPI served in version 3.
        self.modern = True
        # What it does instead of answering: "hang", "garbage", "refuse"; "" for nothing of that.
        self.mood = ""
        self.revision = 0

    def asked(self, path: str) -> list[web.Request]:
        """The requests for a path."""
        return [request for request in self.requests if request.path == path]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.requests.append(request)
        transport = request.transport
        self.peers.append(transport.get_extra_info("peercert") if transport is not None else None)
        match self.mood:
            case "hang":
                await asyncio.Event().wait()
            case "garbage":
                return web.Response(body=b'{"kind": ["no", {', content_type="application/json")
            case "wrong":
                wrong = {"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": GROUP}, "versions": 3}]}
                return web.json_response({**wrong, "paths": 3, "definitions": [], "resources": [{"name": 1}]})
            case "refuse":
                return web.json_response({"kind": "Status", "code": 500}, status=500)
        steps = request.path.strip("/").split("/")
        match steps:
            case ["apis"]:
                return self._groups(request)
            case ["apis", _, _]:
                return web.json_response(_resource_list())
            case ["openapi", *rest]:
                return self._openapi(rest)
            case ["apis", _, _, "redirect"]:
                return web.Response(status=302, headers={"Location": "https://192.0.2.1/"})
            case ["apis", _, _, "namespaces", _, "flunders", _, "console"]:
                return await self._console(request)
            case ["apis", _, _, "flunders"]:
                return await self._collection(request, "")
            case ["apis", _, _, "namespaces", namespace, "flunders"]:
                return await self._collection(request, namespace)
            case ["apis", _, _, "namespaces", namespace, "flunders", name]:
                return self._one(request, namespace, name)
        return _status(404, "NotFound")

    def _groups(self, request: web.Request) -> web.Response:
        if not self.modern or "APIGroupDiscoveryList" not in request.headers.get("Accept", ""):
            return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
        resource = {
            "resource": PLURAL,
            "responseKind": {"group": GROUP, "version": VERSION, "kind": KIND},
            "scope": "Namespaced",
            "singularResource": "flunder",
            "shortNames": ["fl"],
            "verbs": VERBS,
        }
        versions = [{"version": VERSION, "resources": [resource], "freshness": "Current"}]
        content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        body = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}}
        body["items"] = [{"metadata": {"name": GROUP}, "versions": versions}]
        return web.Response(body=orjson.dumps(body), headers={"Content-Type": content_type})

    def _openapi(self, rest: list[str]) -> web.Response:
        if rest == ["v2"]:
            return web.json_response(openapi_2())
        if not self.modern or rest[0] != "v3":
            return _status(404, "NotFound")
        if rest == ["v3"]:
            url = f"/openapi/v3{PATH}?hash=AA"
            return web.json_response({"paths": {PATH[1:]: {"serverRelativeURL": url}, "apis/apps/v1": {}}})
        return web.json_response(openapi_3())

    async def _collection(self, request: web.Request, namespace: str) -> web.StreamResponse:
        if request.method == "POST":
            obj = orjson.loads(await request.read())
            self.revision += 1
            obj["metadata"] |= {"namespace": namespace, "resourceVersion": str(self.revision), "uid": "1"}
            self.objects[namespace, obj["metadata"]["name"]] = obj
            for queue in self.watchers:
                queue.put_nowait({"type": "ADDED", "object": obj})
            return web.json_response(obj, status=201)
        if "watch" in request.query:
            return await self._watch(request)
        items = [one for (place, _), one in self.objects.items() if namespace in ("", place)]
        metadata = {"resourceVersion": str(self.revision)}
        listed = {"kind": f"{KIND}List", "apiVersion": GROUP_VERSION, "metadata": metadata, "items": items}
        return web.json_response(listed)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        queue: asyncio.Queue[Object] = asyncio.Queue()
        self.watchers.append(queue)
        try:
            while True:
                await response.write(orjson.dumps(await queue.get()) + b"\n")
        finally:
            self.watchers.remove(queue)

    def _one(self, request: web.Request, namespace: str, name: str) -> web.Response:
        found = self.objects.get((namespace, name))
        if found is None:
            return _status(404, "NotFound", f'{PLURAL}.{GROUP} "{name}" not found')
        if request.method == "DELETE":
            gone = self.objects.pop((namespace, name))
            for queue in self.watchers:
                queue.put_nowait({"type": "DELETED", "object": gone})
            return _status(200, "")
        return web.json_response(found)

    async def _console(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    def api_service(self, **spec: Any) -> Object:
        """The APIService that hands the group over to this server."""
        described = {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": 2000,
            "versionPriority": 10,
            "service": {"namespace": NAMESPACE, "name": SERVICE},
            "caBundle": self.bundle,
        }
        described = {key: value for key, value in {**described, **spec}.items() if value is not None}
        return {"metadata": {"name": NAME}, "spec": described}

    def endpoint_slice(self, address: str, port: int = 0) -> Object:
        """The endpoints of its Service."""
        return {
            "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}],
            "ports": [{"name": "https", "port": port or self.port}],
        }


SERVICE_OBJECT: Object = {
    "metadata": {"name": SERVICE},
    "spec": {"ports": [{"name": "https", "port": 443, "protocol": "TCP"}]},
}


@asynccontextmanager
async def extension_server(
    folder: Path, *, proxies: Path, address: str, name: str = f"{SERVICE}.{NAMESPACE}.svc", port: int = 0
) -> AsyncIterator[ExtensionServer]:
    """A server whose certificate is for this name; it asks for one of the authority of proxies (a file)."""
    if not (folder / "ca.crt").exists():
        Authority().issue(folder, "extension", "extension", names=(name,))
    server = ExtensionServer((folder / "ca.crt").read_bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(proxies))
    context.load_cert_chain(folder / "extension.crt", folder / "extension.key")
    context.verify_mode = ssl.CERT_REQUIRED
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.serve)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, port, ssl_context=context).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


def _status(code: int, reason: str, message: str = "") -> web.Response:
    status = "Success" if code < 400 else "Failure"
    told = {"kind": "Status", "apiVersion": "v1", "status": status, "reason": reason, "code": code}
    return web.json_response({**told, "message": message}, status=code)


def _resource_list() -> Object:
    resource = {"name": PLURAL, "singularName": "flunder", "namespaced": True, "kind": KIND, "verbs": VERBS}
    console = {"name": f"{PLURAL}/console", "singularName": "", "namespaced": True, "kind": KIND, "verbs": ["get"]}
    resources = [console, {**resource, "shortNames": ["fl"]}]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": resources}


def _schema(prefix: str) -> Object:
    return {
        "description": "Flunder is an example of what others serve.",
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": prefix + _OBJECT_META},
            "size": {"type": "integer", "format": "int32", "description": "How large it is."},
        },
        "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": KIND}],
    }


def openapi_2() -> Object:
    """What is served as OpenAPI 2: our group, another one, and parameters that are only referred to."""
    answer = {"200": {"description": "OK", "schema": {"$ref": f"#/definitions/{DEFINITION}"}}}
    operation = {
        "operationId": "readFlunder",
        "produces": ["application/json"],
        "parameters": [{"$ref": "#/parameters/name"}],
        "responses": answer,
        "x-kubernetes-action": "get",
        "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": KIND},
    }
    path = f"{PATH}/namespaces/{{namespace}}/{PLURAL}/{{name}}"
    return {
        "swagger": "2.0",
        "info": {"title": "wardle", "version": "1"},
        "paths": {path: {"get": operation}, "/apis/other.example.com/v1/x": {"get": {"responses": {}}}},
        "parameters": {"name": {"name": "name", "in": "path", "required": True, "type": "string"}},
        "definitions": {
            DEFINITION: _schema("#/definitions/"),
            _OBJECT_META: {"type": "object", "description": "another server's"},
            "com.example.Unused": {"type": "object"},
        },
    }


def openapi_3() -> Object:
    """The same as OpenAPI 3."""
    schemas = {DEFINITION: _schema("#/components/schemas/"), _OBJECT_META: {"type": "object"}}
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{DEFINITION}"}}}
    operation = {
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": "get",
        "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": KIND},
    }
    path = f"{PATH}/namespaces/{{namespace}}/{PLURAL}/{{name}}"
    info = {"title": "wardle", "version": "1"}
    return {"openapi": "3.0.0", "info": info, "paths": {path: {"get": operation}}, "components": {"schemas": schemas}}
