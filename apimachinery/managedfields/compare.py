"""What changes between two versions of an object: the fields that are added or have another value, and those gone.

Where a version has a whole that the other has not, the whole is named and everything in it. A struct that is there
whether or not anything in it is set, as `spec` of a built-in kind, is never named itself.

Source: sigs.k8s.io/structured-merge-diff/typed (compare.go, tofieldset.go)
"""

from __future__ import annotations

from typing import Any, NamedTuple

from apimachinery.managedfields.sets import LEAF, SELF, Fields
from apimachinery.managedfields.types import ATOMIC, Type
from apimachinery.meta import Object

_ABSENT: Any = object()
_CONTAINERS = (dict, list)


class Changes(NamedTuple):
    """The fields of the new version that the old one has not or has otherwise; the fields of the old one alone."""

    changed: Fields
    removed: Fields


def compare(kind: Type, old: Object, new: Object) -> Changes:
    """What changes from one version to another; `{}` for the old one: all of it is new."""
    changes = Changes({}, {})
    _maps(kind, old, new, changes)
    return changes


def _maps(kind: Type, old: Object, new: Object, changes: Changes) -> None:
    fields = kind.fields
    for key, right in new.items():
        left = old.get(key, _ABSENT)
        if left == right:
            continue
        known = fields.get(key) or kind.field(key)
        if known is None:
            continue
        element, inner, optional, always = known
        if optional:
            if not right and not (always and left is _ABSENT):
                right = _ABSENT
            if not left:
                left = _ABSENT
            if always and inner.granular:
                left, right = (({} if side is _ABSENT else side) for side in (left, right))
            if left is right:
                continue
        _values(inner, element, left, right, changes)
    for key, left in old.items():
        if key not in new:
            known = kind.field(key)
            if known is None:
                continue
            element, inner, optional, always = known
            if not (optional and not left):
                right = {} if always and inner.granular else _ABSENT
                _values(inner, element, left, right, changes)


def _values(kind: Type, element: str, left: Any, right: Any, changes: Changes) -> None:
    """The difference between two values that differ, and of which one at most is absent."""
    if left is _ABSENT:
        changes.changed[element] = everything(kind, right)
    elif right is _ABSENT:
        changes.removed[element] = everything(kind, left)
    elif left is None or right is None:
        _nulls(kind, element, left, right, changes)
    elif isinstance(left, dict) and isinstance(right, dict) and kind.granular:
        inner = Changes({}, {})
        _maps(kind, left, right, inner)
        _put(changes, element, inner)
    elif isinstance(left, list) and isinstance(right, list) and kind.list_kind != ATOMIC:
        inner = Changes({}, {})
        _lists(kind, left, right, inner)
        _put(changes, element, inner)
    else:
        changes.changed[element] = everything(kind, right)
        gone = everything(kind, left)
        if gone:
            changes.removed[element] = {inner: below for inner, below in gone.items() if inner != SELF}


def _nulls(kind: Type, element: str, left: Any, right: Any, changes: Changes) -> None:
    """The difference to a null: beside what has parts it is as good as an empty one."""
    other = left if right is None else right
    parts = (kind.granular and isinstance(other, dict)) or (kind.list_kind != ATOMIC and isinstance(other, list))
    if not other or not parts:
        changes.changed[element] = everything(kind, right)
        if gone := everything(kind, left):
            changes.removed[element] = {inner: below for inner, below in gone.items() if inner != SELF}
        return
    empty: Any = {} if isinstance(other, dict) else []
    _values(kind, element, empty if left is None else left, empty if right is None else right, changes)


def _put(changes: Changes, element: str, inner: Changes) -> None:
    if inner.changed:
        changes.changed[element] = inner.changed
    if inner.removed:
        changes.removed[element] = inner.removed


def _lists(kind: Type, left: list[Any], right: list[Any], changes: Changes) -> None:
    pairs = _in_place(kind, left, right)
    if pairs is not None:
        assert kind.items is not None, "a list whose items are managed apart has items"
        for element, one, other in pairs:
            _values(kind.items, element, one, other, changes)
        return
    before, after = _indexed(kind, left), _indexed(kind, right)
    if before is None or after is None:
        # Items that can't be told apart: the list is one whole.
        changes.changed[SELF] = LEAF
        return
    items = kind.items
    assert items is not None, "a list whose items are managed apart has items"
    for element, some in after.items():
        others = before.get(element)
        if some == others:
            continue
        if others is None:
            changes.changed[element] = _item(items, some)
        elif isinstance(some, Twice) is not isinstance(others, Twice):
            changes.changed[element] = _item(items, some)
            changes.removed[element] = _item(items, others)
        elif isinstance(some, Twice):
            changes.changed[element] = LEAF
        else:
            _values(items, element, others, some, changes)
    for element, others in before.items():
        if element not in after:
            changes.removed[element] = _item(items, others)


def _in_place(kind: Type, left: list[Any], right: list[Any]) -> list[tuple[str, Any, Any]] | None:
    """The items that differ, by the steps to them, if each stands where it was; None: some came, went or moved."""
    if len(left) != len(right):
        return None
    try:
        elements = list(map(kind.element, left))
        if len(set(elements)) < len(elements):
            return None
        pairs = [pair for pair in zip(elements, left, right, strict=True) if pair[1] != pair[2]]
        return pairs if all(kind.element(other) == element for element, _, other in pairs) else None
    except ValueError:
        return None


class Twice(list[Any]):
    """The items of a list that have the same place in it; they are one whole."""


def _item(kind: Type, item: Any) -> Fields:
    """The fields of an item."""
    return LEAF if isinstance(item, Twice) else everything(kind, item)


def _indexed(kind: Type, items: list[Any]) -> dict[str, Any] | None:
    """The items by the steps to them; None if they can't be told apart."""
    try:
        elements = list(map(kind.element, items))
    except ValueError:
        return None
    found: dict[str, Any] = dict(zip(elements, items, strict=True))
    if len(found) < len(items):
        together: dict[str, Twice] = {}
        for element, item in zip(elements, items, strict=True):
            together.setdefault(element, Twice()).append(item)
        found.update((element, same) for element, same in together.items() if len(same) > 1)
    return found


def everything(kind: Type, value: Any) -> Fields:
    """A value as a whole and all that is in it."""
    if not value:
        return LEAF
    if isinstance(value, dict):
        if not kind.granular:
            return LEAF
        found: Fields = {SELF: LEAF}
        fields = kind.fields
        for key, inner in value.items():
            known = fields.get(key) or kind.field(key)
            if known is None:
                continue
            element, inner_type, optional, always = known
            if inner or not optional or always:
                found[element] = everything(inner_type, inner) if isinstance(inner, _CONTAINERS) else LEAF
        return found if len(found) > 1 else LEAF
    if isinstance(value, list) and kind.list_kind != ATOMIC:
        indexed, items = _indexed(kind, value), kind.items
        if indexed is not None and items is not None:
            return {SELF: LEAF} | {element: _item(items, item) for element, item in indexed.items()}
    return LEAF


def described(kind: Type, value: Object) -> Fields:
    """The fields that a configuration names: what is applied is owned, and not the whole that it stands in.

    Of maps with names of their own choice each entry is named, and each item of a list.
    """
    found: Fields = {}
    for key, inner in value.items():
        known = kind.field(key)
        if known is None:
            continue
        node = _described(known.type, inner)
        if node is None:
            continue
        if node and key not in kind.fields:
            node = {SELF: LEAF, **node}
        found[known.element] = node
    return found


def _described(kind: Type, value: Any) -> Fields | None:
    """None: nothing is named."""
    if isinstance(value, dict) and kind.granular:
        return described(kind, value) or (LEAF if not value else None)
    if isinstance(value, list) and kind.list_kind != ATOMIC:
        assert kind.items is not None, "a list whose items are managed apart has items"
        found: Fields = {}
        for item in value:
            inner = _described(kind.items, item)
            found[kind.element(item)] = {SELF: LEAF, **inner} if inner else LEAF
        return found or None
    return LEAF
