"""What is told of fields that others manage and that an apply would change.

Source: k8s.io/apimachinery/pkg/util/managedfields/internal/conflict.go, whose words are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from apimachinery.errors import ApiError
from apimachinery.managedfields import elements, sets
from apimachinery.managedfields.entries import UPDATE, Identity
from apimachinery.managedfields.sets import Fields

Conflicts = Mapping[Identity, Fields]
CAUSE = "FieldManagerConflict"


class ConflictError(ApiError):
    """409: others manage these fields, and have given them other values."""

    def __init__(self, conflicts: Conflicts) -> None:
        ordered = sorted((told(who), who, fields) for who, fields in conflicts.items())
        found = [(shown, elements.text(path)) for shown, _, fields in ordered for path in sets.paths(fields)]
        causes = [{"reason": CAUSE, "message": f"conflict with {who}", "field": path} for who, path in found]
        super().__init__(409, "Conflict", _message(found), {"causes": causes})
        self.conflicts = conflicts


def _message(found: list[tuple[str, str]]) -> str:
    if len(found) == 1:
        who, path = found[0]
        return f"Apply failed with 1 conflict: conflict with {who}: {path}"
    return f"Apply failed with {len(found)} conflicts: " + "\n".join(_lines(found))


def _lines(found: list[tuple[str, str]]) -> Iterator[str]:
    last: Any = None
    for who, path in found:
        if who != last:
            yield f"conflicts with {who}:"
        last = who
        yield f"- {path}"


def told(who: Identity) -> str:
    """A manager as people are told of it."""
    name = _quoted(who.manager)
    if who.subresource:
        name = f"{name} with subresource {_quoted(who.subresource)}"
    return f"{name} using {who.api_version}" if who.operation == UPDATE else name


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
