"""The schemas and operations of this API as OpenAPI: version 3 by group, and version 2 for older clients.

    /openapi/v3                        where each group's document is, under the hash of what it is made of
    /openapi/v3/apis/apps/v1?hash=…    the document of a group and version
    /openapi/v2                        everything in one document, as JSON or protobuf

Documents are made when they are first asked for and kept compressed; what they are made of is let go. After a change
of what is served, only what has changed is made again. Extension servers serve their own documents of version 3, to
which the index leads, and have a part in version 2; of one that knows version 2 only, version 3 is made.
Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson

from apimachinery import schemas
from apimachinery.resources import Resource
from apiserver import openapi_protobuf, openapi_v2
from apiserver.aggregation.index import Extension
from apiserver.catalog import Catalog, Endpoint
from apiserver.customresources.published import list_schema, model_name
from apiserver.discovery import NoServices, Services, subresource
from apiserver.openapi_operations import Operation, operations
from apiserver.version import KUBERNETES_VERSION, git_version

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_EXTRA = (f"{_META}DeleteOptions", f"{_META}Status", f"{_META}Patch", f"{_META}WatchEvent")
# What documents of custom resources refer to.
_FOR_CUSTOM = (*_EXTRA, f"{_META}ObjectMeta", f"{_META}ListMeta", "io.k8s.api.autoscaling.v1.Scale")
_SCHEMA = "#/components/schemas/"
_GZIP_LEVEL = 6
_INFO = {"title": "Kubernetes", "version": KUBERNETES_VERSION}


@dataclass(slots=True)
class Served:
    """What is served in some group and version."""

    built_in: list[Resource] = field(default_factory=list)
    custom: list[Endpoint] = field(default_factory=list)


class OpenAPI:
    """The documents of what is served."""

    def __init__(self, catalog: Catalog, services: Services | None = None) -> None:
        self._catalog = catalog
        self._services: Services = services if services is not None else NoServices()
        self._generation = (-1, -1)
        self._by_version: dict[str, Served] = {}
        # By path: what extension servers serve.
        self._extensions: dict[str, Extension] = {}
        self._hashes: dict[str, str] = {}
        # By what it is: the hash of what it was made of, and the compressed document.
        self._made: dict[str, tuple[str, bytes]] = {}
        self._index = b""

    def index(self) -> bytes:
        """The body of /openapi/v3."""
        self._refresh()
        return self._index

    def hash(self, path: str) -> str | None:
        """What changes whenever the document at this path does; None if there is none."""
        self._refresh()
        return self._hashes.get(path)

    def hash_2(self, *, protobuf: bool = False) -> str:
        """What changes whenever the document of everything does."""
        self._refresh()
        made_of = "".join((*self._hashes.values(), "protobuf" if protobuf else "JSON"))
        return hashlib.sha256(made_of.encode()).hexdigest().upper()

    def _refresh(self) -> None:
        generation = (self._catalog.generation, self._services.generation)
        if self._generation == generation:
            return
        self._generation = generation
        before, self._by_version = self._hashes.keys(), {}
        for resource in self._catalog.built_in():
            self._by_version.setdefault(_path(resource), Served()).built_in.append(resource)
        for endpoint in self._catalog.custom():
            self._by_version.setdefault(_path(endpoint.resource), Served()).custom.append(endpoint)
        self._extensions = {one.path.removeprefix("/"): one for one in self._services.known()}
        for path in self._extensions:
            self._by_version.pop(path, None)
        self._hashes = {path: _hash(served) for path, served in self._by_version.items()}
        self._hashes |= {
            path: hashlib.sha256(one.schemas.version_2).hexdigest().upper()
            for path, one in self._extensions.items()
            if one.schemas.version_2
        }
        gone = before - self._hashes.keys()
        urls = {path: f"/openapi/v3/{path}?hash={digest}" for path, digest in self._hashes.items()}
        urls |= {
            path: url for path, one in self._extensions.items() if (url := one.schemas.own_version_3) is not None
        }
        self._index = orjson.dumps({"paths": {path: {"serverRelativeURL": url} for path, url in urls.items()}})
        for name in [name for name in self._made if name.rpartition(" ")[2] in gone]:
            del self._made[name]

    async def version_3(self, path: str) -> bytes:
        """The compressed document of a group and version. Raises KeyError."""
        self._refresh()
        extension = self._extensions.get(path)
        if extension is not None:
            part = extension.schemas.version_2
            return await self._once(path, self._hashes[path], lambda: _converted(part))
        served = self._by_version[path]
        return await self._once(path, self._hashes[path], lambda: orjson.dumps(document(served)))

    async def version_2(self, *, protobuf: bool = False) -> bytes:
        """The compressed document of everything, as JSON or for older clients as protobuf."""
        digest = self.hash_2(protobuf=protobuf)
        form = "protobuf" if protobuf else "JSON"
        parts = [await self._part(*part, form) for part in self._parts()]
        others = [one.schemas.version_2 for one in self._extensions.values() if one.schemas.version_2]
        ours = [await self._part(*part, "JSON") for part in self._parts()] if others else []

        def make() -> bytes:
            found = [*map(gzip.decompress, parts), *_parts_of_others(ours, others, form)]
            return b"".join((openapi_protobuf.encode_head(_INFO), *found)) if protobuf else _joined(found)

        return await self._once(f"v2 {form}", digest, make)

    def _parts(self) -> Iterator[tuple[str, str, Served]]:
        """(name, hash, endpoints) of what is put together: all that is built in, and each custom group's version."""
        built_in = Served([one for served in self._by_version.values() for one in served.built_in])
        yield "built-in", str(len(built_in.built_in)), built_in
        for path, served in self._by_version.items():
            if served.custom:
                yield path, self._hashes[path], Served(custom=served.custom)

    async def _part(self, name: str, digest: str, served: Served, form: str) -> bytes:
        def make() -> bytes:
            made = openapi_v2.convert(document(served, simple=True), _operations(served))
            return openapi_protobuf.encode_body(made) if form == "protobuf" else _parted(made)

        return await self._once(f"v2 {form} {name}", digest, make)

    async def _once(self, name: str, digest: str, make: Callable[[], bytes]) -> bytes:
        """What was made before of the same, or what is made now in a thread: others need not wait for it."""
        kept = self._made.get(name)
        if kept is None or kept[0] != digest:
            schemas.definitions()  # made here, since the handlers of this loop share it
            made = await asyncio.to_thread(lambda: gzip.compress(make(), _GZIP_LEVEL, mtime=0))
            kept = self._made[name] = (digest, made)
        return kept[1]


# Between the paths and the definitions of a part; no JSON contains it.
_SEPARATOR = b"\0"


def _parted(document: dict[str, Any]) -> bytes:
    return _SEPARATOR.join(orjson.dumps(document[key])[1:-1] for key in ("paths", "definitions"))


def _parts_of_others(ours: Sequence[bytes], others: Sequence[bytes], form: str) -> list[bytes]:
    """What extension servers add to our parts (compressed JSON)."""
    if not others:
        return []
    from apiserver.aggregation import openapi_documents

    known: dict[str, Any] = {}
    for part in ours:
        known |= orjson.loads(b"{%b}" % gzip.decompress(part).split(_SEPARATOR)[1])
    merged = openapi_documents.merged(known, map(orjson.loads, others))
    if form == "protobuf":
        return [openapi_protobuf.encode_body(openapi_documents.plain(merged))]
    return [_parted(merged)]


def _converted(part: bytes) -> bytes:
    """The document of an extension server that has none in version 3."""
    from apiserver.aggregation import openapi_documents

    return orjson.dumps(openapi_documents.to_version_3(orjson.loads(part), _INFO))


def _joined(parts: Iterable[bytes]) -> bytes:
    """One document of parts."""
    split = [part.split(_SEPARATOR) for part in parts]
    paths, definitions = (b",".join(part[number] for part in split if part[number]) for number in (0, 1))
    head = orjson.dumps({"swagger": "2.0", "info": _INFO})[:-1]
    return b"".join((head, b',"paths":{', paths, b'},"definitions":{', definitions, b"}}"))


def _path(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.api_version}"


def _hash(served: Served) -> str:
    made_of = [*served.built_in, *((one.resource, one.fingerprint) for one in served.custom)]
    return hashlib.sha256(f"{git_version()} {made_of}".encode()).hexdigest().upper()


def document(served: Served, *, simple: bool = False) -> dict[str, Any]:
    """The OpenAPI 3 document of what is served; `simple` for what is to become one of version 2."""
    components = {name: _schema(schema) for name, schema in _components(served.built_in).items()}
    if served.custom and not simple:
        components |= _shared_components()
    for endpoint in served.custom:
        assert endpoint.schema is not None
        resource, selectable = endpoint.resource, endpoint.strategy.selectable
        components[model_name(resource.api_version, resource.kind)] = endpoint.schema(simple)
        components[model_name(resource.api_version, resource.list_kind)] = list_schema(resource, selectable)
    paths: dict[str, dict[str, Any]] = {}
    for operation in _operations(served):
        item = paths.setdefault(operation.path, {"parameters": list(map(_parameter, operation.path_parameters))})
        item[operation.method] = _operation(operation)
    return {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": components}}


def _components(resources: Sequence[Resource]) -> dict[str, Any]:
    if not resources:
        return {}
    return schemas.openapi_components(resources, [*_EXTRA, *_subresource_schemas(resources)])


@cache
def _shared_components() -> dict[str, Any]:
    """What documents of custom resources refer to; kept, since reading the published schemas takes a while."""
    return {name: _schema(schema) for name, schema in schemas.openapi_components((), _FOR_CUSTOM).items()}


def _operations(served: Served) -> Iterator[Operation]:
    yield from operations(served.built_in)
    for endpoint in served.custom:
        yield from operations([endpoint.resource], _name, endpoint.strategy.patches)


def _name(api_version: str, kind: str) -> str:
    return schemas.definition_name(api_version, kind) or model_name(api_version, kind)


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
