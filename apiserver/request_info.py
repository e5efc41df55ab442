"""What a request asks for, read from its method and path alone: the words that authorization decides on.

    GET  /apis/apps/v1/namespaces/default/deployments/web/scale
    verb=get group=apps version=v1 resource=deployments subresource=scale namespace=default name=web

Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#determine-the-request-verb
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
# These name a namespace's own subresources and not a resource inside it.
_NAMESPACE_SUBRESOURCES = ("status", "finalize")
# Longer paths are read each time: they are rare, and whoever asks needs no credentials for it.
_REMEMBERED_PATH_MAX = 256
# The groups of everybody who has shown valid credentials, and of those who have shown none.
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"


class User(NamedTuple):
    """Who asks. A service account is `system:serviceaccount:NAMESPACE:NAME`, a node `system:node:NAME`."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    # What else is known of them, as the pod that a token was made for: (key, values).
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class RequestInfo(NamedTuple):
    """What is asked for. Without a resource, `verb` is the HTTP method in lower case and `path` is what counts.

    `rest` is what follows a subresource, as in `…/pods/web/proxy/index.html`. `fields` and `labels` are the values
    that the selectors of a list, watch or deletecollection require.
    """

    verb: str
    path: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    rest: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def selected_name(self) -> str:
        """The one name that can be concerned, also if it is a field selector that says so."""
        return self.name or self.field("metadata.name")

    def field(self, path: str) -> str:
        """The value that the field selector requires of a field, or ""."""
        return next((value for key, value in self.fields if key == path), "")

    def label(self, key: str) -> str:
        """The value that the label selector requires of a label, or ""."""
        return next((value for known, value in self.labels if known == key), "")


def parse(method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    """Read a request; never fails: what is no resource path is a request for the path itself."""
    if not query and len(path) <= _REMEMBERED_PATH_MAX:
        return _without_query(method, path)
    return _parse(method, path, query)


# The same objects and collections are asked for again and again.
@lru_cache(maxsize=1024)
def _without_query(method: str, path: str) -> RequestInfo:
    return _parse(method, path, {})


def _parse(method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    steps = path.split("/")[1:]
    if steps[:1] == ["api"] and len(steps) >= 3 and steps[2]:
        group, version, rest = "", steps[1], steps[2:]
    elif steps[:1] == ["apis"] and len(steps) >= 4 and steps[3]:
        group, version, rest = steps[1], steps[2], steps[3:]
    else:
        return RequestInfo(method.lower(), path)
    # An old way to ask for a watch, also for that of one object.
    watches = rest[0] == "watch" and len(rest) > 1 and method == "GET"
    if watches:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("", *_NAMESPACE_SUBRESOURCES):
        namespace, rest = unquote(rest[1]), rest[2:]
    elif rest[0] == "namespaces" and len(rest) >= 2:
        namespace = unquote(rest[1])
    resource, name, subresource = (*rest, "", "")[:3]
    fields = "" if name else query.get("fieldSelector", "")
    labels = "" if name else query.get("labelSelector", "")
    return RequestInfo(
        "watch" if watches else _verb(method, name, query),
        path,
        group,
        version,
        resource,
        subresource,
        namespace,
        unquote(name),
        "/".join(rest[3:]),
        _required(fields) if fields else (),
        _required(labels) if labels else (),
    )


def is_true(value: str) -> bool:
    """What a boolean of a query says: everything but a clear no is a yes, even nothing at all (`?watch`)."""
    return value != "0" and value.lower() != "false"


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    verb = _VERBS.get(method, method.lower())
    if name:
        return verb
    if method == "GET" and "watch" in query and is_true(query["watch"]):
        return "watch"
    return {"get": "list", "delete": "deletecollection"}.get(verb, verb)


def _required(selector: str) -> tuple[tuple[str, str], ...]:
    """The terms of the form a=b; whatever else stands there is the handlers' business.

    One with sets (`a in (b,c)`) is not taken apart here, where a term might be read out of the middle of a set.
    """
    if "(" in selector:
        return ()
    terms = (term.replace("==", "=", 1).partition("=") for term in selector.split(",") if "!=" not in term)
    return tuple((path.strip(), value.strip()) for path, equals, value in terms if equals)
