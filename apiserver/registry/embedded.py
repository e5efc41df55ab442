"""Resources that are embedded in custom ones must be such: with apiVersion, kind, and metadata like any other's.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta/validation.go
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from apimachinery.field import FieldError, invalid_value, required
from apimachinery.names import dns1035_label, path_segment
from apimachinery.resources import Resource
from apimachinery.structural.nodes import Node
from apiserver.registry.metadata import validate_metadata
from apiserver.registry.strategy import Strategy

Errors = list[FieldError]

# What is embedded may be of any kind, in a namespace or not.
_NAMESPACED = Strategy(Resource("", "", "", "", ""), validate_name=path_segment, restricts_finalizers=False)
_CLUSTERED = replace(_NAMESPACED, resource=Resource("", "", "", "", "", namespaced=False))
_NO_NAME = "fakename"


def validate_embedded(value: Any, node: Node | None, path: str = "", *, root: bool = False) -> Errors:
    """What is wrong with the resources inside of a value; with `root`, and with the value as one."""
    errors: Errors = []
    _validate(value, node, path, errors, embedded=root)
    return errors


def _validate(value: Any, node: Node | None, path: str, errors: Errors, *, embedded: bool) -> None:
    if node is None or not (node.has_embedded or embedded):
        return
    if isinstance(value, dict):
        if embedded:
            _validate_resource(value, f"{path}." if path else "", errors)
        for key, inner in value.items():
            known = node.properties.get(key)
            where = (f"{path}.{key}" if path else key) if known is not None else f"{path}[{key}]"
            inside = known or node.values
            _validate(inner, inside, where, errors, embedded=inside is not None and inside.embedded)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            inside = node.items
            where = f"{path}[{number}]"
            _validate(inner, inside, where, errors, embedded=inside is not None and inside.embedded)


def _validate_resource(resource: dict[str, Any], prefix: str, errors: Errors) -> None:
    errors += [required(f"{prefix}{field}") for field in ("apiVersion", "kind") if field not in resource]
    version, kind = resource.get("apiVersion"), resource.get("kind")
    if version == "":
        errors.append(invalid_value(f"{prefix}apiVersion", "", "must not be empty"))
    elif isinstance(version, str) and version.count("/") > 1:
        errors.append(invalid_value(f"{prefix}apiVersion", version, f"unexpected GroupVersion string: {version}"))
    if kind == "":
        errors.append(invalid_value(f"{prefix}kind", "", "must not be empty"))
    elif isinstance(kind, str) and (problems := dns1035_label(kind.lower())):
        why = f"may have mixed case, but should otherwise match: {','.join(problems)}"
        errors.append(invalid_value(f"{prefix}kind", kind, why))
    metadata = resource.get("metadata")
    if isinstance(metadata, dict):
        named = {"metadata": {**metadata, "name": metadata.get("name") or _NO_NAME}}
        rules = _NAMESPACED if metadata.get("namespace") else _CLUSTERED
        errors += [replace(error, path=f"{prefix}{error.path}") for error in validate_metadata(named, rules)]
