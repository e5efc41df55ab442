"""An applied configuration comes into an object, and what is applied no more goes.

Both work on values alone; which fields may go is decided in `applying`.

Source: sigs.k8s.io/structured-merge-diff/typed (merge.go, remove.go)
"""

from __future__ import annotations

from typing import Any

from apimachinery.managedfields.sets import LEAF, SELF, Fields, is_member
from apimachinery.managedfields.types import ATOMIC, Type


def merged(kind: Type, live: Any, applied: Any) -> Any:
    """The value with all that is applied; nothing goes. Raises ValueError if items of a list can't be told apart.

    Lists that are merged have the order of what is applied; what it does not name stays where it was among the rest.
    """
    if isinstance(live, dict) and kind.granular:
        if isinstance(applied, dict):
            return _merged_maps(kind, live, applied) if live or applied else applied
        return live if applied is None and live else applied
    if isinstance(live, list) and kind.list_kind != ATOMIC:
        if isinstance(applied, list):
            return _merged_lists(kind, live, applied) if live or applied else applied
        return live if applied is None and live else applied
    return applied


def _merged_maps(kind: Type, live: dict[str, Any], applied: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: merged(kind.inner(key), value, applied[key]) if key in applied else value for key, value in live.items()
    }
    return both | {key: value for key, value in applied.items() if key not in live}


def _merged_lists(kind: Type, live: list[Any], applied: list[Any]) -> list[Any]:
    """Two pointers go along both lists; what both have is taken where the applied list has it."""
    items = kind.items
    assert items is not None, "a list whose items are managed apart has items"
    ours, theirs = [kind.element(item) for item in live], [kind.element(item) for item in applied]
    wanted = dict(zip(theirs, applied, strict=True))
    # What stands twice can't be merged with: it gives way to the one that is applied.
    have: dict[str, Any] = {}
    for element, item in zip(ours, live, strict=True):
        have[element] = None if element in have else item
    shared = [element for element in theirs if element in have]
    found: list[Any] = []
    taken: set[str] = set()

    def take(element: str) -> None:
        item = have.get(element)
        found.append(wanted[element] if item is None else merged(items, item, wanted[element]))
        taken.add(element)
        if shared and shared[0] == element:
            shared.pop(0)

    left = right = 0
    while left < len(ours) or right < len(theirs):
        element = ours[left] if left < len(ours) else ""
        if element and right < len(theirs):
            if element == theirs[right]:
                take(element)
                left, right = left + 1, right + 1
                continue
            if element in wanted and shared and shared[0] != element:
                left += 1  # it is shared, and comes later
                continue
        if element and element not in wanted:
            found.append(live[left])
            left += 1
            continue
        if element and element in taken:
            left += 1
        if right < len(theirs):
            take(theirs[right])
            right += 1
    return found


def without(kind: Type, value: Any, fields: Fields) -> Any:
    """The value without these fields; of what is one whole nothing is taken out."""
    if isinstance(value, dict) and kind.granular:
        return _map_without(kind, value, fields)
    if isinstance(value, list) and kind.list_kind != ATOMIC:
        return _list_without(kind, value, fields)
    return value


def _map_without(kind: Type, value: dict[str, Any], fields: Fields) -> dict[str, Any]:
    found = {}
    for key, inner in value.items():
        below = fields.get(f"f:{key}")
        if below is None:
            found[key] = inner
        elif not is_member(below):
            rest, known = without(kind.inner(key), inner, below), kind.fields.get(key)
            # What has lost all that it held stays, empty, where that is another thing than nothing.
            if rest or known is None or not known.optional:
                found[key] = rest
    return found


def _list_without(kind: Type, value: list[Any], fields: Fields) -> list[Any]:
    assert kind.items is not None, "a list whose items are managed apart has items"
    found = []
    for item in value:
        below = fields.get(kind.element(item))
        if below is None:
            found.append(item)
        elif not is_member(below):
            found.append(without(kind.items, item, below))
    return found


def with_named(kind: Type, fields: Fields) -> Fields:
    """The set with the objects that its members are in, as far as schemas name these."""
    found: Fields = {}
    for element, below in fields.items():
        name = element[2:]
        if element == SELF:
            found[element] = below
        elif element.startswith("f:"):
            inner = with_named(kind.inner(name), below)
            named = bool(below) and SELF not in below and name in kind.fields
            found[element] = {SELF: LEAF, **inner} if named else inner
        else:
            found[element] = with_named(kind.items, below) if kind.items is not None else below
    return found
