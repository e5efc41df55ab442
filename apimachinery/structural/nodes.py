"""A schema in the form in which objects are walked: what pruning, defaulting and lists need, and nothing else.

A node is made once from a schema and never changed. Most fields are plain strings or numbers: equal leaves are one
node, so that a schema of thousands of fields takes little memory.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from apimachinery.structural.walk import Schema, items_of, properties_of, values_of


class Node:
    """One place of a schema.

    `values` is the node of a map's values; `is_map` is also true where any value may be in it. `defaults` are the
    fields that have a default. `has_…` tell whether anything below has defaults, embedded resources or lists that are
    sets or maps: where nothing has, whole trees are passed over.
    """

    __slots__ = (
        *("default", "defaults", "embedded", "has_defaults", "has_embedded", "has_lists", "is_map", "items"),
        *("list_keys", "list_type", "nullable", "preserve", "properties", "values"),
    )

    def __init__(
        self, schema: Schema, properties: Mapping[str, Node], items: Node | None, values: Node | None
    ) -> None:
        self.properties = properties
        self.items = items
        self.values = values
        self.is_map = schema.get("additionalProperties") is not None
        self.nullable = bool(schema.get("nullable"))
        self.preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        self.embedded = bool(schema.get("x-kubernetes-embedded-resource"))
        self.list_type: str = schema.get("x-kubernetes-list-type") or "atomic"
        self.list_keys: tuple[str, ...] = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        self.default: Any = schema.get("default")
        self.defaults = {name: node.default for name, node in properties.items() if node.default is not None}
        inner = [node for node in (items, values, *properties.values()) if node is not None]
        self.has_defaults: bool = any(node.default is not None or node.has_defaults for node in inner)
        self.has_embedded: bool = self.embedded or any(node.has_embedded for node in inner)
        self.has_lists: bool = self.list_type in ("set", "map") or any(node.has_lists for node in inner)

    def as_root(self) -> Node:
        """The same place as that of a whole resource, which has apiVersion, kind and metadata whatever is said."""
        if self.embedded:
            return self
        root = copy.copy(self)
        root.embedded = True
        return root


_NONE: Mapping[str, Node] = {}
_leaves: dict[tuple[bool, ...], Node] = {}


def compile_schema(schema: Schema) -> Node:
    """The node of a schema."""
    properties, items, values = properties_of(schema), items_of(schema), values_of(schema)
    if not properties and items is None and values is None and schema.get("default") is None:
        return _leaf(schema)
    return Node(
        schema,
        {name: compile_schema(inner) for name, inner in properties.items()} or _NONE,
        compile_schema(items) if items is not None else None,
        compile_schema(values) if values is not None else None,
    )


_FLAGS = ("nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource")


def _leaf(schema: Schema) -> Node:
    if schema.get("x-kubernetes-list-type"):
        return Node(schema, _NONE, None, None)
    key = (*(bool(schema.get(flag)) for flag in _FLAGS), schema.get("additionalProperties") is not None)
    if key not in _leaves:
        _leaves[key] = Node(schema, _NONE, None, None)
    return _leaves[key]
