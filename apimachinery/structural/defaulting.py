"""Defaulting: what is absent is filled in, and a null where none may be is as good as absent.

Values are changed in place. To default twice changes nothing more.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting
"""

from __future__ import annotations

import copy
from typing import Any

from apimachinery.structural.nodes import Node
from apimachinery.structural.pruning import prune


def drop_nulls(value: Any, node: Node | None) -> bool:
    """Remove the nulls that may not be there and have no default to give way to; returns whether there were any."""
    dropped = False
    if isinstance(value, dict):
        gone = []
        for key, inner in value.items():
            known = node and (node.properties.get(key) or node.values)
            if inner is None:
                if known is not None and not known.nullable and known.default is None:
                    gone.append(key)
            elif isinstance(inner, dict | list):
                dropped = drop_nulls(inner, known) or dropped
        for key in gone:
            del value[key]
        return dropped or bool(gone)
    if isinstance(value, list):
        items = node and node.items
        for inner in value:
            if isinstance(inner, dict | list):
                dropped = drop_nulls(inner, items) or dropped
    return dropped


def apply_defaults(value: Any, node: Node | None) -> bool:
    """Fill in what is absent; returns whether anything was."""
    if node is None or not node.has_defaults:
        return False
    filled = False
    if isinstance(value, dict):
        for key, default in node.defaults.items():
            if value.get(key) is None and (key not in value or not node.properties[key].nullable):
                value[key] = copy.deepcopy(default)
                filled = True
        for key, inner in value.items():
            known = node.properties.get(key)
            if known is None and inner is None and _gives_way(node.values):
                assert node.values is not None
                value[key] = inner = copy.deepcopy(node.values.default)
                filled = True
            if isinstance(inner, dict | list):
                filled = apply_defaults(inner, known or node.values) or filled
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            if inner is None and _gives_way(node.items):
                assert node.items is not None
                value[number] = inner = copy.deepcopy(node.items.default)
                filled = True
            filled = apply_defaults(inner, node.items) or filled
    return filled


def _gives_way(node: Node | None) -> bool:
    """Whether a null becomes the default."""
    return node is not None and not node.nullable and node.default is not None


def prune_defaults(node: Node) -> Node:
    """Prune all defaults of a schema that was just compiled, as objects that hold them would be; returns it."""
    if node.default is not None:
        node.default = copy.deepcopy(node.default)
        prune(node.default, node)
    if node.has_defaults:
        for inner in (node.items, node.values, *node.properties.values()):
            if inner is not None:
                prune_defaults(inner)
        node.defaults = {name: inner.default for name, inner in node.properties.items() if inner.default is not None}
    return node
