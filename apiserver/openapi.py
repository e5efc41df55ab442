"""The schemas and operations of this API as OpenAPI: version 3 by group, and version 2 for older clients.

    /openapi/v3                        where each group's document is, under the hash of what it is made of
    /openapi/v3/apis/apps/v1?hash=…    the document of a group and version
    /openapi/v2                        everything in one document, as JSON or protobuf

Documents are made when they are first asked for and kept compressed; what they are made of is let go.
Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson

from apimachinery import schemas
from apimachinery.resources import Resource
from apiserver import openapi_protobuf, openapi_v2
from apiserver.discovery import subresource
from apiserver.openapi_operations import Operation, operations
from apiserver.version import KUBERNETES_VERSION, git_version

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_EXTRA = (f"{_META}DeleteOptions", f"{_META}Status", f"{_META}Patch", f"{_META}WatchEvent")
_SCHEMA = "#/components/schemas/"
_GZIP_LEVEL = 6


class OpenAPI:
    """The documents of a set of resources."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._by_version: dict[str, list[Resource]] = {}
        for resource in resources:
            prefix = "apis/" if resource.group else "api/"
            self._by_version.setdefault(prefix + resource.api_version, []).append(resource)
        self._made: dict[str, bytes] = {}

    def index(self) -> bytes:
        """The body of /openapi/v3."""
        paths = {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self.hash(path)}"} for path in self._by_version
        }
        return orjson.dumps({"paths": paths})

    def hash(self, path: str) -> str | None:
        """What changes whenever the document at this path does; None if there is none."""
        resources = self._by_version.get(path)
        if resources is None:
            return None
        return hashlib.sha256(f"{git_version()} {resources}".encode()).hexdigest().upper()

    async def version_3(self, path: str) -> bytes:
        """The compressed document of a group and version. Raises KeyError."""
        resources = self._by_version[path]
        return await self._once(path, lambda: orjson.dumps(document(resources)))

    async def version_2(self, *, protobuf: bool = False) -> bytes:
        """The compressed document of everything, as JSON or for older clients as protobuf."""
        everything = [resource for some in self._by_version.values() for resource in some]

        def make() -> bytes:
            made = openapi_v2.convert(document(everything), operations(everything))
            return openapi_protobuf.encode(made) if protobuf else orjson.dumps(made)

        return await self._once("v2 as protobuf" if protobuf else "v2", make)

    async def _once(self, key: str, make: Callable[[], bytes]) -> bytes:
        """What was made before, or what is made now in a thread: others need not wait for it."""
        if key not in self._made:
            schemas.definitions()  # made here, since the handlers of this loop share it
            self._made[key] = await asyncio.to_thread(lambda: gzip.compress(make(), _GZIP_LEVEL, mtime=0))
        return self._made[key]


def document(resources: Sequence[Resource]) -> dict[str, Any]:
    """The OpenAPI 3 document of these resources."""
    components = schemas.openapi_components(resources, [*_EXTRA, *_subresource_schemas(resources)])
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations(resources):
        item = paths.setdefault(operation.path, {"parameters": list(map(_parameter, operation.path_parameters))})
        item[operation.method] = _operation(operation)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": KUBERNETES_VERSION},
        "paths": paths,
        "components": {"schemas": {name: _schema(schema) for name, schema in components.items()}},
    }


def _subresource_schemas(resources: Sequence[Resource]) -> Iterator[str]:
    for resource in resources:
        for name in resource.subresources:
            found = subresource(resource, name)
            api_version = f"{found.group}/{found.version}" if found.group else found.version
            if schema := schemas.definition_name(api_version, found.kind):
                yield schema


def _schema(node: Any) -> Any:
    """What stands beside a reference is lost on readers of OpenAPI 3, unless the reference is wrapped."""
    if isinstance(node, list):
        return [_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node and len(node) > 1:
        return {"allOf": [{"$ref": node["$ref"]}], **{key: value for key, value in node.items() if key != "$ref"}}
    return {key: _properties(value) if key == "properties" else _schema(value) for key, value in node.items()}


def _properties(properties: dict[str, Any]) -> dict[str, Any]:
    found = {name: _schema(schema) for name, schema in properties.items()}
    for name in ("apiVersion", "kind"):
        if "enum" in found.get(name, {}):  # the schemas pin these where Kubernetes' own leave them open
            found[name] = {key: value for key, value in found[name].items() if key != "enum"}
    return found


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": operation.description,
        "operationId": operation.id,
        "tags": [operation.tag],
        "parameters": list(map(_parameter, operation.query_parameters)),
        "responses": {
            "200": {
                "description": "OK",
                "content": {kind: _content(operation.answer) for kind in operation.produces},
            },
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.kind,
    }
    if operation.body is not None:
        content = {kind: _content(operation.body) for kind in operation.consumes}
        described["requestBody"] = {"content": content, "required": operation.body_required}
    return described


def _content(schema: str) -> dict[str, Any]:
    if schema == "string":
        return {"schema": {"type": "string"}}
    return {"schema": {"$ref": _SCHEMA + schema}}


def _parameter(parameter: tuple[str, str, str, str]) -> dict[str, Any]:
    name, where, kind, description = parameter
    schema = {"type": kind, "uniqueItems": True}
    required = {"required": True} if where == "path" else {}
    return {"name": name, "in": where, "description": description, "schema": schema, **required}
