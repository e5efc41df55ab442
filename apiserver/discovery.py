"""What this server serves: the documents that clients read first, made from the resource table.

    /api, /apis, /apis/GROUP           versions and groups
    /api/v1, /apis/GROUP/VERSION       the resources of one version
    /api, /apis in the aggregated form (`as=APIGroupDiscoveryList`): everything at once

What extension servers serve is told as they told it last. Groups and versions are in the order that APIServices give
them: clients that look for a kind take the first that has it.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from apimachinery.resources import Resource
from apimachinery.versions import version_order
from apiserver.aggregation import priorities
from apiserver.aggregation.index import Extension
from apiserver.aggregation.priorities import Priority
from apiserver.catalog import Catalog

# Versions of the aggregated form, the preferred one first; clients up to 1.29 know the beta only.
AGGREGATED_VERSIONS = ("v2", "v2beta1")


class Subresource(NamedTuple):
    """What a subresource takes and gives; without a kind it is that of its resource."""

    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""
    kind: str = ""


_CHANGE = ("get", "patch", "update")
_STREAM = ("create", "get")
_PROXY = ("create", "delete", "get", "patch", "update")
# (resource, subresource), or ("*", subresource) for those that mean the same everywhere.
SUBRESOURCES = {
    ("*", "status"): Subresource(_CHANGE),
    ("*", "scale"): Subresource(_CHANGE, "autoscaling", "v1", "Scale"),
    ("certificatesigningrequests", "approval"): Subresource(_CHANGE),
    ("namespaces", "finalize"): Subresource(("update",)),
    ("pods", "attach"): Subresource(_STREAM, "", "v1", "PodAttachOptions"),
    ("pods", "binding"): Subresource(("create",), "", "v1", "Binding"),
    ("pods", "ephemeralcontainers"): Subresource(_CHANGE),
    ("pods", "eviction"): Subresource(("create",), "policy", "v1", "Eviction"),
    ("pods", "exec"): Subresource(_STREAM, "", "v1", "PodExecOptions"),
    ("pods", "log"): Subresource(("get",)),
    ("pods", "portforward"): Subresource(_STREAM, "", "v1", "PodPortForwardOptions"),
    ("pods", "proxy"): Subresource(_PROXY, "", "v1", "PodProxyOptions"),
    ("pods", "resize"): Subresource(_CHANGE),
    ("nodes", "proxy"): Subresource(_PROXY, "", "v1", "NodeProxyOptions"),
    ("services", "proxy"): Subresource(_PROXY, "", "v1", "ServiceProxyOptions"),
    ("serviceaccounts", "token"): Subresource(("create",), "authentication.k8s.io", "v1", "TokenRequest"),
}


def subresource(resource: Resource, name: str) -> Subresource:
    """What a subresource of a resource takes and gives. Raises KeyError if nothing says."""
    found = SUBRESOURCES.get((resource.plural, name)) or SUBRESOURCES["*", name]
    if found.kind:
        return found
    return Subresource(found.verbs, resource.group, resource.version, resource.kind)


class Document(NamedTuple):
    """A body and what tells whether a client has it already."""

    body: bytes
    content_type: str
    etag: str


def _document(content: Mapping[str, Any], content_type: str = "application/json") -> Document:
    body = orjson.dumps(content)
    return Document(body, content_type, f'"{hashlib.sha256(body).hexdigest().upper()}"')


class Services(Protocol):
    """`apiserver.aggregation.index.ApiServices`."""

    @property
    def generation(self) -> int:
        """Another number after each change."""

    def priority(self, group: str, version: str) -> Priority:
        """Where a version of a group is told: the higher first."""

    def known(self) -> list[Extension]:
        """What extension servers serve."""


class NoServices:
    """Nobody but this server serves anything."""

    generation = 0
    priority = staticmethod(priorities.default)

    def known(self) -> list[Extension]:
        """Nothing."""
        return []


# What a version consists of: our resources, or those of an extension server.
_Served = list[Resource] | Extension


class Discovery:
    """The discovery documents of what is served; each is made when it is first asked for after a change."""

    def __init__(self, catalog: Catalog, services: Services | None = None, *, server_address: str) -> None:
        self._catalog = catalog
        self._services: Services = services if services is not None else NoServices()
        self._server_address = server_address
        self._generation = (-1, -1)
        self._groups: dict[str, dict[str, _Served]] = {}
        self._made: dict[tuple[str, str], Document] = {}

    def _refresh(self) -> None:
        generation = (self._catalog.generation, self._services.generation)
        if self._generation == generation:
            return
        self._generation, self._made = generation, {}
        found: dict[tuple[str, str], _Served] = {}
        # The order in which `kubectl get all` prints them.
        for resource in sorted(self._catalog.resources(), key=lambda one: one.plural):
            some = found.setdefault((resource.group, resource.version), [])
            assert isinstance(some, list)
            some.append(resource)
        # Whoever names a Service for what is served here too hands it over.
        found |= {(one.group, one.version): one for one in self._services.known()}
        self._groups = {}
        for group, version in _in_order(found, self._services):
            self._groups.setdefault(group, {})[version] = found[group, version]

    def find(self, path: str, *, aggregated: str | None = None) -> Document | None:
        """The document at a path, if there is one there; `aggregated` is the version of that form if it is wanted."""
        self._refresh()
        steps = tuple(path.strip("/").split("/"))
        form = aggregated if aggregated and steps in (("api",), ("apis",)) else ""
        key = ("/".join(steps), form)
        if key not in self._made:
            made = self._aggregated(steps[0], form) if form else self._plain(steps)
            if made is None:
                return None
            self._made[key] = made
        return self._made[key]

    def paths(self) -> list[str]:
        """Where documents are."""
        self._refresh()
        found = {"/api", "/apis"}
        for group, versions in self._groups.items():
            root = f"/apis/{group}" if group else "/api"
            found |= {root, *(f"{root}/{version}" for version in versions)}
        return sorted(found)

    def _plain(self, steps: Sequence[str]) -> Document | None:
        match steps:
            case ["api"]:
                addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._server_address}]
                versions = list(self._groups.get("", ()))
                document = {"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": addresses}
                return _document(document)
            case ["apis"]:
                groups = [self._group(group) for group in self._groups if group]
                return _document({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
            case ["api", version] if isinstance(some := self._groups.get("", {}).get(version), list):
                return _document(_resource_list(version, some, kind_version=False))
            case ["apis", group] if group in self._groups and group:
                return _document({"kind": "APIGroup", "apiVersion": "v1", **self._group(group)})
            case ["apis", group, version] if group and isinstance(
                some := self._groups.get(group, {}).get(version), list
            ):
                return _document(_resource_list(f"{group}/{version}", some))
        return None

    def _group(self, group: str) -> dict[str, Any]:
        versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in self._groups[group]]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _aggregated(self, prefix: str, form: str) -> Document:
        groups = [group for group in self._groups if bool(group) == (prefix == "apis")]
        items = [
            {
                "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
                "versions": [_aggregated_version(*version) for version in self._groups[group].items()],
            }
            for group in groups
        ]
        document = {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{form}"}
        content_type = f"application/json;g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList"
        return _document({**document, "metadata": {}, "items": items}, content_type)


def _in_order(found: Iterable[tuple[str, str]], services: Services) -> list[tuple[str, str]]:
    """Groups by the highest priority that a version of them has, and in each its versions by theirs."""
    ranked = {one: services.priority(*one) for one in found}
    # (the priority of the group, downwards; the name that comes first among the APIServices that have it)
    groups: dict[str, tuple[int, str]] = {}
    for (group, version), priority in ranked.items():
        place = (-priority.group, f"{version}.{group}")
        groups[group] = min(groups.get(group, place), place)
    return sorted(ranked, key=lambda one: (groups[one[0]], -ranked[one].version, version_order(one[1])))


def _aggregated_version(version: str, served: _Served) -> dict[str, Any]:
    if isinstance(served, Extension):
        freshness = "Current" if served.fresh else "Stale"
        return {"version": version, "resources": served.resources, "freshness": freshness}
    return {"version": version, "resources": list(map(_aggregated_resource, served)), "freshness": "Current"}


def _resource_list(group_version: str, resources: Iterable[Resource], *, kind_version: bool = True) -> dict[str, Any]:
    entries = []
    for resource in resources:
        entries.append(
            {
                "name": resource.plural,
                "singularName": resource.singular,
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": sorted(resource.verbs),
                **_names(resource),
            }
        )
        for name in sorted(resource.subresources):
            found = subresource(resource, name)
            elsewhere = (found.group, found.version) != (resource.group, resource.version)
            entries.append(
                {
                    "name": f"{resource.plural}/{name}",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    **({"group": found.group, "version": found.version} if elsewhere else {}),
                    "kind": found.kind,
                    "verbs": list(found.verbs),
                }
            )
    # The core group's list has never named the version of its own kind.
    head = {"kind": "APIResourceList", **({"apiVersion": "v1"} if kind_version else {})}
    return {**head, "groupVersion": group_version, "resources": sorted(entries, key=lambda entry: entry["name"])}


def _aggregated_resource(resource: Resource) -> dict[str, Any]:
    def kind(group: str, version: str, name: str) -> dict[str, str]:
        return {"group": group, "version": version, "kind": name}

    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
        **_names(resource),
    }
    if resource.subresources:
        found = {name: subresource(resource, name) for name in sorted(resource.subresources)}
        entry["subresources"] = [
            {"subresource": name, "responseKind": kind(one.group, one.version, one.kind), "verbs": list(one.verbs)}
            for name, one in found.items()
        ]
    return entry


def _names(resource: Resource) -> dict[str, Any]:
    names: dict[str, Any] = {}
    if resource.short_names:
        names["shortNames"] = list(resource.short_names)
    if resource.categories:
        names["categories"] = list(resource.categories)
    return names


def wanted_form(accept: str) -> str | None:
    """The version of the aggregated form that an Accept header asks for before plain JSON; None for plain JSON."""
    for clause in accept.split(","):
        media_type, *rest = (part.strip() for part in clause.split(";"))
        settings = dict(part.split("=", 1) for part in rest if "=" in part)
        if media_type not in ("application/json", "application/*", "*/*"):
            continue
        if "as" not in settings:
            return None
        known = settings.get("g") == "apidiscovery.k8s.io" and settings["as"] == "APIGroupDiscoveryList"
        if known and settings.get("v") in AGGREGATED_VERSIONS:
            return settings["v"]
    return None
