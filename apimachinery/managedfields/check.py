"""Whether a configuration can be applied: every field has a place in the schema, and no item of a list stands twice.

What else may be wrong with a value is found when the whole object is looked at.

Source: sigs.k8s.io/structured-merge-diff/typed/validate.go, whose words are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from apimachinery.managedfields.elements import element_text
from apimachinery.managedfields.types import ANY, ATOMIC, BOOLEAN, NUMERIC, STRING, Type

_SCALARS: dict[str, type | tuple[type, ...]] = {
    STRING: str,
    NUMERIC: (int, float),
    BOOLEAN: bool,
    ANY: (str, int, float, bool),
}


def problems(kind: Type, value: Any) -> str:
    """What keeps a configuration from being applied, as one text; empty if nothing."""
    found = list(_problems(kind, value, ""))
    return found[0] if len(found) == 1 else "\n".join(["errors:", *(f"  {one}" for one in found)]) if found else ""


def _problems(kind: Type, value: Any, path: str) -> Iterator[str]:
    if value is None:
        return
    if isinstance(value, dict) and kind.is_map:
        yield from _map_problems(kind, value, path)
    elif isinstance(value, list) and kind.is_list:
        yield from _list_problems(kind, value, path)
    elif not _fits(kind, value):
        wanted = kind.scalar or ("map" if kind.is_map else "list")
        yield _told(path, f"expected {wanted}, got {orjson.dumps(value).decode()}")


def _fits(kind: Type, value: Any) -> bool:
    if not kind.scalar or isinstance(value, dict | list):
        return False
    return isinstance(value, _SCALARS[kind.scalar]) and (kind.scalar != NUMERIC or not isinstance(value, bool))


def _map_problems(kind: Type, value: dict[str, Any], path: str) -> Iterator[str]:
    for key, inner in value.items():
        known = kind.field(key)
        if known is not None:
            yield from _problems(known.type, inner, f"{path}.{key}")
        elif key not in kind.untracked:
            yield _told(f"{path}.{key}", "field not declared in schema")


def _list_problems(kind: Type, value: list[Any], path: str) -> Iterator[str]:
    seen: set[str] = set()
    for number, item in enumerate(value):
        shown = f"[{number}]"
        if kind.list_kind != ATOMIC:
            try:
                element = kind.element(item)
            except ValueError as error:
                yield _told(path, f"element {number}: {error}")
                return
            shown = element_text(element)
            if element in seen:
                yield _told(path, f"duplicate entries for key {shown}")
            seen.add(element)
        if kind.items is not None:
            yield from _problems(kind.items, item, f"{path}{shown}")


def _told(path: str, problem: str) -> str:
    return f"{path}: {problem}" if path else problem
