"""The columns of a custom resource's table: its name, and what `additionalPrinterColumns` finds by JSONPath.

Without any it shows its age. Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from apimachinery.jsonpath import JsonPathError, compile_path
from apimachinery.meta import Object
from apimachinery.time import parse_rfc3339
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Since

INVALID = "<invalid>"


_AGE = AGE._replace(type="date")


def columns(definitions: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """The columns of one version; if a path can't be understood, those before it."""
    return (NAME, *_understood(definitions)) if definitions else (NAME, _AGE)


def _understood(definitions: Iterable[Mapping[str, Any]]) -> Iterable[Column]:
    for definition in definitions:
        path, kind = definition["jsonPath"], definition["type"]
        try:
            find = compile_path(path).find
        except JsonPathError:
            return
        yield Column(
            definition["name"],
            _cell(find, _CELLS[kind]),
            kind,
            definition.get("format") or "",
            definition.get("priority") or 0,
            definition.get("description") or f"Custom resource definition column (in JSONPath format): {path}",
        )


def _cell(find: Callable[[Any], list[Any]], show: Callable[[Any], Cell]) -> Callable[[Object], Cell]:
    def cell(obj: Object) -> Cell:
        found = find(obj)
        return show(found[0]) if found and found[0] is not None else None

    return cell


def _text(value: Any) -> Cell:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _integer(value: Any) -> Cell:
    return int(value) if _is_number(value) else None


def _number(value: Any) -> Cell:
    return value if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _boolean(value: Any) -> Cell:
    return value if isinstance(value, bool) else None


def _date(value: Any) -> Cell:
    if not isinstance(value, str):
        return None
    try:
        if value:
            parse_rfc3339(value)
    except ValueError:
        return INVALID
    return Since((value or None,))


_CELLS: dict[str, Callable[[Any], Cell]] = {
    "string": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
}
