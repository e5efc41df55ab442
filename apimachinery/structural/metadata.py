"""The metadata of an object, and of those embedded in it, has the fields and types of ObjectMeta.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta
"""

from __future__ import annotations

from typing import Any

from apimachinery import schemas
from apimachinery.field import FieldError, invalid_value
from apimachinery.structural.nodes import Node

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def coerce(obj: dict[str, Any], node: Node, *, is_resource: bool = True) -> tuple[list[str], list[FieldError]]:
    """Bring all metadata of a private object into shape: unknown fields and nulls go.

    `is_resource`: the object itself is a resource, whose apiVersion and kind are known already. Returns the paths of
    the unknown fields, and what is of a wrong type and stays.
    """
    unknown: list[str] = []
    errors: list[FieldError] = []
    if is_resource:
        _coerce_metadata(obj, "", unknown, errors)
    _coerce(obj, node, "", unknown, errors, root=is_resource)
    return sorted(unknown), errors


def drop_malformed(obj: dict[str, Any], node: Node) -> None:
    """Remove what is of a wrong type from embedded metadata: it was stored before the schema said what it is."""
    for resource in _embedded(obj, node, root=True):
        for field in ("apiVersion", "kind"):
            if not isinstance(resource.get(field, ""), str):
                del resource[field]
        metadata = resource.get("metadata")
        if isinstance(metadata, dict):
            wrong = {error.path.split(".")[1].partition("[")[0] for error in _problems(metadata, "metadata")}
            for field in wrong:
                metadata.pop(field, None)


def _embedded(value: Any, node: Node | None, *, root: bool = False) -> list[dict[str, Any]]:
    if node is None or not node.has_embedded:
        return []
    if isinstance(value, dict):
        found = [value] if node.embedded and not root else []
        for key, inner in value.items():
            found += _embedded(inner, node.properties.get(key) or node.values)
        return found
    return [one for inner in value for one in _embedded(inner, node.items)] if isinstance(value, list) else []


def _coerce(
    value: Any, node: Node | None, path: str, unknown: list[str], errors: list[FieldError], *, root: bool = False
) -> None:
    if node is None or not node.has_embedded:
        return
    if isinstance(value, dict):
        if node.embedded and not root:
            prefix = f"{path}." if path else ""
            for key in ("apiVersion", "kind"):
                if key in value and not isinstance(value[key], str):
                    errors.append(invalid_value(f"{prefix}{key}", value[key], "must be a string"))
            _coerce_metadata(value, prefix, unknown, errors)
        for key, inner in value.items():
            known = node.properties.get(key)
            where = f"{path}.{key}".lstrip(".") if known is not None else f"{path}[{key}]"
            _coerce(inner, known or node.values, where, unknown, errors)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _coerce(inner, node.items, f"{path}[{number}]", unknown, errors)


def _coerce_metadata(resource: dict[str, Any], prefix: str, unknown: list[str], errors: list[FieldError]) -> None:
    metadata = resource.get("metadata")
    if metadata is None:
        resource.pop("metadata", None)
        return
    problems = _problems(metadata, f"{prefix}metadata")
    if problems:
        errors += problems
        return
    resource["metadata"], more = schemas.prune_named(OBJECT_META, metadata, f"{prefix}metadata")
    unknown += more


def _problems(metadata: Any, path: str) -> list[FieldError]:
    if not isinstance(metadata, dict):
        return [invalid_value(path, metadata, "must be an object")]
    return schemas.validate_named(OBJECT_META, metadata, path)
