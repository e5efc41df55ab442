"""Which representation a client wants: the objects themselves, a table, or their metadata alone; always as JSON.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from apimachinery.errors import not_acceptable

OBJECT, TABLE, PARTIAL, PARTIAL_LIST = "", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"
_VERSIONS = ("v1", "v1beta1")
_JSON_RANGES = ("application/json", "application/*", "*/*")


@dataclass(frozen=True, slots=True)
class Representation:
    """What is sent: `kind` is empty for the objects themselves, else a kind of meta.k8s.io in this version."""

    kind: str = OBJECT
    version: str = "v1"

    @property
    def api_version(self) -> str:
        """`meta.k8s.io/v1`."""
        return f"meta.k8s.io/{self.version}"


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Representation:
    """The first representation of an Accept header that can be made. Raises ApiError 406."""
    if not accept.strip():
        return Representation()
    clauses = [_clause(text, place) for place, text in enumerate(accept.split(","))]
    for _, _, media_type, parameters in sorted(clauses):
        if media_type not in _JSON_RANGES:
            continue
        settings = dict(parameters)
        if settings.get("stream", "watch") != "watch":
            continue
        kind = settings.get("as", OBJECT)
        if kind == OBJECT:
            return Representation()
        version = settings.get("v", "")
        if kind in (TABLE, PARTIAL, PARTIAL_LIST) and settings.get("g") == "meta.k8s.io" and version in _VERSIONS:
            return Representation(kind, version)
    raise not_acceptable(
        "only the following media types are accepted: application/json, application/json;stream=watch"
    )


def _clause(text: str, place: int) -> tuple[float, int, str, tuple[tuple[str, str], ...]]:
    """What sorts by preference: quality first, then the order of the header."""
    media_type, *rest = (part.strip() for part in text.split(";"))
    pairs = [part.partition("=") for part in rest]
    parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 1.0
    return -quality, place, media_type.lower(), tuple(parameters.items())
