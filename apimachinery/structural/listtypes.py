"""Lists that a schema calls sets or maps hold nothing twice.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype
"""

from __future__ import annotations

from typing import Any

import orjson

from apimachinery.field import FieldError, duplicate, invalid_value
from apimachinery.structural.nodes import Node

Errors = list[FieldError]


def validate_lists(value: Any, node: Node | None, path: str = "") -> Errors:
    """What stands twice where it may only once; each of them is told of once."""
    errors: Errors = []
    _validate(value, node, path, errors)
    return errors


def _validate(value: Any, node: Node | None, path: str, errors: Errors) -> None:
    if node is None or not node.has_lists:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            known = node.properties.get(key)
            if known is not None:
                _validate(inner, known, f"{path}.{key}".lstrip("."), errors)
            elif node.values is not None:
                _validate(inner, node.values, f"{path}[{key}]", errors)
    elif isinstance(value, list):
        if node.list_type == "set":
            errors += [duplicate(f"{path}[{number}]", value[number]) for number in _repeated(value)]
        elif node.list_type == "map":
            _validate_map(value, node.list_keys, path, errors)
        for number, inner in enumerate(value):
            _validate(inner, node.items, f"{path}[{number}]", errors)


def _validate_map(items: list[Any], names: tuple[str, ...], path: str, errors: Errors) -> None:
    for number, item in enumerate(items):
        if item is not None and not isinstance(item, dict):
            why = "must be an object for an array of list-type map"
            errors.append(invalid_value(f"{path}[{number}]", item, why))
            return
    keys = [{name: item[name] for name in names if name in item} if item else {} for item in items]
    errors += [duplicate(f"{path}[{number}]", keys[number]) for number in _repeated(keys)]


def _repeated(items: list[Any]) -> list[int]:
    """Where something stands for the second time."""
    if len(items) < 2:
        return []
    counts: dict[bytes, int] = {}
    found = []
    for number, item in enumerate(items):
        text = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
        counts[text] = counts.get(text, 0) + 1
        if counts[text] == 2:
            found.append(number)
    return found
