"""The text of a schema, brought into shape before anything else looks at it.

The published schema of JSONSchemaProps says nothing of its fields that may be one thing or another (`items`,
`additionalProperties`…): what is in them is checked here. Fields that say nothing go, as they do in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apimachinery import schemas
from apimachinery.field import FieldError, wrong_type

PROPS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_SAY_NOTHING = frozenset(
    (
        *("id", "$schema", "description", "type", "format", "title", "pattern", "nullable", "uniqueItems"),
        *("exclusiveMaximum", "exclusiveMinimum", "enum", "required", "allOf", "oneOf", "anyOf", "properties"),
        *("patternProperties", "dependencies", "definitions", "x-kubernetes-embedded-resource"),
        *("x-kubernetes-int-or-string", "x-kubernetes-list-map-keys", "x-kubernetes-validations"),
    )
)
_EMPTY: tuple[Any, ...] = ("", False, [], {})
_LISTS, _MAPS = ("allOf", "anyOf", "oneOf"), ("properties", "patternProperties", "definitions")
_BOOL_OR_SCHEMA = ("additionalProperties", "additionalItems")


def tidy(schema: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[FieldError]]:
    """The schema without what says nothing, and what in it is of a wrong type."""
    errors: list[FieldError] = []
    return _tidy(schema, path, errors), errors


def _tidy(schema: Mapping[str, Any], path: str, errors: list[FieldError]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in schema.items():
        at = f"{path}.{key}"
        if key in _LISTS:
            value = [_tidy(inner, f"{at}[{number}]", errors) for number, inner in enumerate(value)]
        elif key in _MAPS:
            value = {name: _tidy(inner, f"{at}[{name}]", errors) for name, inner in value.items()}
        elif key == "not":
            value = _tidy(value, at, errors)
        elif key == "items" and isinstance(value, list):
            value = [_checked(inner, f"{at}[{number}]", errors) for number, inner in enumerate(value)]
        elif key == "items" or (key in _BOOL_OR_SCHEMA and not isinstance(value, bool)):
            value = _checked(value, at, errors)
        elif key == "dependencies":
            value = {name: _dependency(inner, f"{at}[{name}]", errors) for name, inner in value.items()}
        if not (key in _SAY_NOTHING and value in _EMPTY):
            found[key] = value
    return found


def _dependency(value: Any, path: str, errors: list[FieldError]) -> Any:
    return value if isinstance(value, list) else _checked(value, path, errors)


def _checked(value: Any, path: str, errors: list[FieldError]) -> dict[str, Any]:
    """A schema at a place of which the published schema says nothing."""
    if not isinstance(value, dict):
        errors.append(wrong_type(path, value, "must be a schema"))
        return {}
    if wrong := schemas.validate_named(PROPS, value, path):
        errors += wrong
        return {}
    return _tidy(schemas.prune_named(PROPS, value, path)[0], path, errors)
