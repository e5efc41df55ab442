"""Reads what an extension server says it serves, in either form of discovery. Pure.

Everybody's list of APIs is made of it: whatever is not of the expected form is no answer at all.

Source: k8s.io/apiserver/pkg/endpoints/discovery.go and kube-aggregator/pkg/apiserver/handler_discovery.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIST_KIND = "APIGroupDiscoveryList"
ACCEPT = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as={LIST_KIND}" for version in ("v2", "v2beta1")
)
Entry = dict[str, Any]


def read_aggregated(document: Any, group: str, version: str) -> list[Entry]:
    """The resources of a version of a group; none if the list does not have it. Raises ValueError."""
    for item in _list(_map(document, "the document").get("items"), "items"):
        if (_map(_map(item, "an item").get("metadata") or {}, "metadata").get("name") or "") != group:
            continue
        for served in _list(item.get("versions"), "versions"):
            if _map(served, "a version").get("version") == version:
                listed = [_map(one, "a resource") for one in _list(served.get("resources"), "resources")]
                return [_resource(one, group, version) for one in listed]
    return []


def read_legacy(document: Any, group: str, version: str) -> list[Entry]:
    """The resources of an APIResourceList. Raises ValueError."""
    if _map(document, "the document").get("kind") != "APIResourceList":
        raise ValueError(f"kind is {document.get('kind')!r} and not APIResourceList")
    found: dict[str, Entry] = {}
    listed = [_map(one, "a resource") for one in _list(document.get("resources"), "resources")]
    # Subresources come behind whatever they belong to.
    for one in sorted(listed, key=lambda one: "/" in _text(one, "name")):
        name, _, subresource = _text(one, "name").partition("/")
        kind = {
            "group": _text(one, "group", "") or group,
            "version": _text(one, "version", "") or version,
            "kind": _text(one, "kind", ""),
        }
        # A subresource alone has somebody that it belongs to all the same: clients insist on it.
        nothing = {"resource": name, "responseKind": {**kind, "kind": ""}, "scope": _scope(one), "verbs": []}
        entry = found.setdefault(name, nothing)
        if subresource:
            told = {"subresource": subresource, "responseKind": kind, "verbs": _texts(one, "verbs")}
            entry.setdefault("subresources", []).append(told)
            continue
        entry |= {
            "responseKind": kind,
            "singularResource": _text(one, "singularName", ""),
            "verbs": _texts(one, "verbs"),
            **_names(one),
        }
    return list(found.values())


def _resource(one: Mapping[str, Any], group: str, version: str) -> Entry:
    entry: Entry = {
        "resource": _text(one, "resource"),
        "scope": _text(one, "scope", "Cluster"),
        "singularResource": _text(one, "singularResource", ""),
        "verbs": _texts(one, "verbs"),
        "responseKind": _kind(one, group, version),
        **_names(one),
    }
    if one.get("subresources"):
        entry["subresources"] = [
            {
                "subresource": _text(sub, "subresource"),
                "responseKind": _kind(sub, group, version),
                "verbs": _texts(sub, "verbs"),
            }
            for sub in (_map(sub, "a subresource") for sub in _list(one["subresources"], "subresources"))
        ]
    return entry


def _kind(one: Mapping[str, Any], group: str, version: str) -> Entry:
    """What is sent and answered; where nobody says, something nameless of the same group."""
    kind = _map(one.get("responseKind") or {}, "responseKind")
    found = {key: _text(kind, key, "") for key in ("group", "version", "kind")}
    return found if found["version"] else {"group": group, "version": version, "kind": found["kind"]}


def _names(one: Mapping[str, Any]) -> Entry:
    return {key: _texts(one, key) for key in ("shortNames", "categories") if one.get(key)}


def _scope(one: Mapping[str, Any]) -> str:
    return "Namespaced" if one.get("namespaced") is True else "Cluster"


def _map(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list | None):
        raise ValueError(f"{what} is no list")
    return value or []


def _text(holder: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = holder.get(key, default)
    if not isinstance(value, str) or (default is None and not value):
        raise ValueError(f"{key} is no text")
    return value


def _texts(holder: Mapping[str, Any], key: str) -> list[str]:
    values = _list(holder.get(key), key)
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key} is no list of texts")
    return values
