"""Tables: what `kubectl get` prints, made by the server from the columns of a resource's strategy.

The cells of a version are made once; ages in them become text when the table is sent.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from apimachinery.errors import bad_request
from apimachinery.meta import Object
from apiserver import encoding
from apiserver.registry.strategy import Cell, Column, Since, Strategy
from apiserver.storage.entry import Entry

INCLUDE_METADATA, INCLUDE_OBJECT, INCLUDE_NONE = "Metadata", "Object", "None"


def include(value: str) -> str:
    """What goes with each row. Raises ApiError 400."""
    if value not in ("", INCLUDE_METADATA, INCLUDE_OBJECT, INCLUDE_NONE):
        raise bad_request(f'Unable to convert to Table as requested: unrecognized includeObject value: "{value}"')
    return value or INCLUDE_METADATA


def table(
    strategy: Strategy, rows: Sequence[Object], metadata: Object, api_version: str, *, headers: bool = True
) -> bytes:
    """A Table of these rows; without `headers` it has no column definitions (later events of a watch)."""
    return orjson.dumps(
        {
            "kind": "Table",
            "apiVersion": api_version,
            "metadata": metadata,
            "columnDefinitions": [_definition(column) for column in strategy.columns] if headers else None,
            "rows": rows,
        }
    )


def row(
    strategy: Strategy, entry: Entry, api_version: str, included: str, now: float, *, managers: bool = True
) -> Object:
    """The row of a version; what goes with it, with who manages its fields or without."""
    cells: list[Cell] = entry.encoding("cells", lambda version: [c.cell(version.obj) for c in strategy.columns])
    shown = [cell.at(now) if isinstance(cell, Since) else cell for cell in cells]
    return {"cells": shown, "object": _included(entry, api_version, included, managers=managers)}


def _included(entry: Entry, api_version: str, included: str, *, managers: bool) -> Any:
    if included == INCLUDE_NONE:
        return None
    if included == INCLUDE_OBJECT:
        return orjson.Fragment(encoding.version(entry, managers=managers))
    return orjson.Fragment(encoding.partial(entry, api_version, managers=managers))


def _definition(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }
