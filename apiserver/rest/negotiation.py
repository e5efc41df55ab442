"""Which representation a client wants: the objects themselves, a table, or their metadata alone.

Whoever has no use for `metadata.managedFields`, as all parts of a cluster itself, says so by a parameter of ours:
`application/json;managedFields=omit`. Others ignore it, as any parameter that they don't know.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from apimachinery.errors import not_acceptable
from apiserver.forms import JSON_RANGES, YAML, clauses
from apiserver.responses import JSON

OBJECT, TABLE, PARTIAL, PARTIAL_LIST = "", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"
_VERSIONS = ("v1", "v1beta1")


class Representation(NamedTuple):
    """What is sent: `kind` is empty for the objects themselves, else a kind of meta.k8s.io in this version.

    `managers`: with who manages which field.
    """

    kind: str = OBJECT
    version: str = "v1"
    managers: bool = True

    @property
    def api_version(self) -> str:
        """`meta.k8s.io/v1`."""
        return f"meta.k8s.io/{self.version}"


@lru_cache(maxsize=256)
def negotiate(accept: str, *, stream: bool = False) -> Representation:
    """The first representation of an Accept header that can be made. Raises ApiError 406.

    What of it is YAML is `apiserver.forms`' business; only a `stream` of events can't be.
    """
    if not accept.strip():
        return Representation()
    for media_type, parameters in clauses(accept):
        if media_type not in JSON_RANGES and (stream or media_type != YAML):
            continue
        settings = dict(parameters)
        if settings.get("stream", "watch") != "watch":
            continue
        kind, managers = settings.get("as", OBJECT), settings.get("managedfields") != "omit"
        if kind == OBJECT:
            return Representation(managers=managers)
        version = settings.get("v", "")
        if kind in (TABLE, PARTIAL, PARTIAL_LIST) and settings.get("g") == "meta.k8s.io" and version in _VERSIONS:
            return Representation(kind, version, managers)
    accepted = f"{JSON}, {JSON};stream=watch" if stream else f"{JSON}, {YAML}"
    raise not_acceptable(f"only the following media types are accepted: {accepted}")
