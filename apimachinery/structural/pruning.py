"""Pruning: a field that no schema knows goes, unless the schema preserves unknown fields there.

Objects are pruned in place. apiVersion, kind and metadata of the object, and of resources embedded in it, always
stay; what metadata may hold is looked at in `metadata`.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-pruning
"""

from __future__ import annotations

from typing import Any

from apimachinery.structural.nodes import Node
from apimachinery.structural.walk import META_FIELDS


def prune(value: Any, node: Node) -> list[str]:
    """Prune a private value; returns the paths of what was removed, as `spec.servers[0].prot`, sorted."""
    removed: list[str] = []
    _prune(value, node, "", removed)
    return sorted(removed)


def _prune(value: Any, node: Node | None, path: str, removed: list[str]) -> None:
    if node is not None and node.preserve:
        _keep(value, node, path, removed)
    elif isinstance(value, dict):
        if node is None:
            removed += [_field(path, key) for key in value]
            value.clear()
            return
        properties, gone = node.properties, []
        for key, inner in value.items():
            if node.embedded and key in META_FIELDS:
                continue
            known = properties.get(key)
            if known is None and not node.is_map:
                gone.append(key)
            elif isinstance(inner, dict | list):
                _prune(inner, known or node.values, _field(path, key), removed)
        for key in gone:
            del value[key]
            removed.append(_field(path, key))
    elif isinstance(value, list):
        items = node.items if node is not None else None
        for number, inner in enumerate(value):
            if isinstance(inner, dict | list):
                _prune(inner, items, f"{path}[{number}]", removed)


def _keep(value: Any, node: Node, path: str, removed: list[str]) -> None:
    """Where unknown fields are preserved, only what is under a known one is pruned."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if node.embedded and key in META_FIELDS:
                continue
            known = node.properties.get(key)
            if known is not None or node.is_map:
                _prune(inner, known or node.values, _field(path, key), removed)
    elif isinstance(value, list) and node.items is not None:
        for number, inner in enumerate(value):
            _keep(inner, node.items, f"{path}[{number}]", removed)


def _field(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
