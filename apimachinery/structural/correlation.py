"""Which old value a new one is compared with, on its way down an object.

What was invalid before and is unchanged passes (ratcheting): that must be known of every value by itself. Fields are
compared with fields of the same name, items of a list of type map with those of the same keys; items of any other
list with nothing.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-ratcheting
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from apimachinery.structural.nodes import Node

_MISSING = object()


class Correlated:
    """A new value, the old one that it is compared with, and the place of both in their schema."""

    def __init__(self, new: Any, old: Any, node: Node) -> None:
        self.new = new
        self.old = old
        self._node = node

    @cached_property
    def unchanged(self) -> bool:
        """Whether new and old are equal; in which order a list of type map has its items is no part of that."""
        return same(self.new, self.old) or (self._node.has_lists and self._reordered())

    def _reordered(self) -> bool:
        new, old = self.new, self.old
        inner: list[Correlated | None]
        if isinstance(new, dict) and isinstance(old, dict) and new.keys() == old.keys():
            inner = list(map(self.key, new))
        elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
            inner = list(map(self.index, range(len(new))))
        else:
            return False
        return all(one is not None and one.unchanged for one in inner)

    def key(self, name: str) -> Correlated | None:
        """A field or a map's value; None if there is nothing to compare it with."""
        if not isinstance(self.new, dict) or not isinstance(self.old, dict):
            return None
        node = self._node.properties.get(name) or self._node.values
        if node is None or name not in self.new or name not in self.old:
            return None
        return Correlated(self.new[name], self.old[name], node)

    def index(self, number: int) -> Correlated | None:
        """An item of a list; None if there is nothing to compare it with."""
        items = self._node.items
        if not isinstance(self.new, list) or not isinstance(self.old, list) or items is None:
            return None
        old = self._by_key.get(item_key(self.new[number], self._keys), _MISSING)
        return Correlated(self.new[number], old, items) if old is not _MISSING else None

    @property
    def _keys(self) -> tuple[str, ...]:
        return self._node.list_keys if self._node.list_type == "map" else ()

    @cached_property
    def _by_key(self) -> Mapping[Any, Any]:
        return items_by_key(self.old, self._keys)


def items_by_key(items: list[Any], keys: tuple[str, ...]) -> dict[Any, Any]:
    """The items of a list under their keys, the first of each; those without a key are left out."""
    found: dict[Any, Any] = {}
    for item in items if keys else ():
        key = item_key(item, keys)
        if key is not None:
            found.setdefault(key, item)
    return found


def item_key(item: Any, keys: tuple[str, ...]) -> Any:
    """The key of an item; None if it has none."""
    if not keys or not isinstance(item, dict):
        return None
    values = [item.get(key) for key in keys]
    if any(value is None or isinstance(value, dict | list) for value in values):
        return None
    return tuple((type(value).__name__, value) for value in values)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal; unlike Python, neither true and 1 nor 1 and 1.0 are."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
