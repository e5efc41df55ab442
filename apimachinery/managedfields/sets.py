"""Sets of fields, as nested dicts of steps in the form of fieldsV1.

    {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}}      metadata.labels and metadata.labels.app, not metadata

A step that leads nowhere further (`{}`) is a member of the set, and so is one with `.` beside its further steps. Sets
are never changed once they are made: what an operation leaves as it is, it shares with its result, and a set that
stays the same is returned itself.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/ (fieldsV1)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias, cast

import orjson

from apimachinery.managedfields.elements import Path, canonical

Fields: TypeAlias = dict[str, "Fields"]
DEPTH_MAX = 256
# A member without further steps. Shared by all sets.
LEAF: Fields = {}
SELF = "."


def parse(document: Any) -> Fields:
    """The set of a fieldsV1 document, steps in canonical form. Raises ValueError."""
    found = _parsed(document, 0)
    return {element: below for element, below in found.items() if element != SELF} if SELF in found else found


def _parsed(document: Any, depth: int) -> Fields:
    if not isinstance(document, dict) or depth > DEPTH_MAX:
        raise ValueError("fieldsV1 must be an object of objects")
    found: Fields = {}
    for step, inner in document.items():
        if step == SELF:
            found[SELF] = LEAF
            continue
        element = canonical(step)
        if element is None:
            continue
        below = _parsed(inner, depth + 1)
        found[element] = union_of_nodes(found[element], below) if element in found else below
    return _node(found, member=SELF in found) or LEAF


@lru_cache(maxsize=256)
def loads(raw: bytes) -> Fields:
    """The set of bytes that `dumps` has made; shared, as all sets are."""
    return cast(Fields, orjson.loads(raw))


def dumps(fields: Fields) -> bytes:
    """The bytes of a set: equal sets are equal bytes."""
    return bytes(memoryview(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)))


def of_paths(paths: Iterable[Path]) -> Fields:
    """The set of these paths."""
    found: Fields = {}
    for path in paths:
        found = union(found, _of_path(path))
    return found


def _of_path(path: Path) -> Fields:
    found = LEAF
    for element in reversed(path):
        found = {element: found}
    return found


def paths(fields: Fields) -> Iterator[Path]:
    """The members, parents before their children."""
    for element, below in sorted(fields.items()):
        if element == SELF:
            continue
        if is_member(below):
            yield (element,)
        for rest in paths(below):
            yield (element, *rest)


def has(fields: Fields, path: Path) -> bool:
    """Whether a path is a member."""
    for element in path:
        found = fields.get(element)
        if found is None:
            return False
        fields = found
    return bool(path) and is_member(fields)


def is_member(node: Fields) -> bool:
    """Whether a step that leads to this node is a member itself."""
    return not node or SELF in node


def union(some: Fields, others: Fields) -> Fields:
    """What is in one or the other."""
    found: Fields | None = None
    for element, theirs in others.items():
        ours = some.get(element)
        both = theirs if ours is None else union_of_nodes(ours, theirs)
        if both is not ours:
            found = dict(some) if found is None else found
            found[element] = both
    return some if found is None else found


def union_of_nodes(ours: Fields, theirs: Fields) -> Fields:
    """The node to which either leads."""
    if not theirs:
        return ours if is_member(ours) else {SELF: LEAF, **ours}
    if not ours:
        return theirs if SELF in theirs else {SELF: LEAF, **theirs}
    return union(ours, theirs)


def difference(some: Fields, others: Fields) -> Fields:
    """The members of the one that are none of the other; children stay though their parent goes."""
    found: Fields | None = None
    for element, theirs in others.items():
        ours = some.get(element)
        if ours is None or element == SELF:
            continue
        rest = _without(ours, theirs)
        if rest is not ours:
            found = dict(some) if found is None else found
            if rest is None:
                del found[element]
            else:
                found[element] = rest
    return some if found is None else found


def _without(ours: Fields, theirs: Fields) -> Fields | None:
    goes = is_member(theirs)
    if not ours:
        return None if goes else ours
    rest = difference(ours, theirs) if theirs else ours
    if goes and SELF in rest:
        rest = {element: below for element, below in rest.items() if element != SELF}
    if rest is ours:
        return ours
    return _node(rest, member=SELF in rest)


def _node(node: Fields, *, member: bool) -> Fields | None:
    """A node in its one form; None if nothing is left of it."""
    if len(node) > 1 or (node and not member):
        return node
    return LEAF if member or node else None


def without_all(some: Fields, others: Fields) -> Fields:
    """What is left without the members of the other and all that is below them."""
    found: Fields | None = None
    for element, theirs in others.items():
        ours = some.get(element)
        if ours is None or element == SELF or not (ours or is_member(theirs)):
            continue
        rest = None if is_member(theirs) else _node(without_all(ours, theirs), member=is_member(ours))
        if rest is not ours:
            found = dict(some) if found is None else found
            if rest is None:
                del found[element]
            else:
                found[element] = rest
    return some if found is None else found


def intersection(some: Fields, others: Fields) -> Fields:
    """What is in both."""
    found: Fields = {}
    for element, theirs in others.items():
        ours = some.get(element)
        if ours is None or element == SELF:
            continue
        inner = intersection(ours, theirs) if ours and theirs else {}
        if is_member(ours) and is_member(theirs):
            found[element] = {SELF: LEAF, **inner} if inner else LEAF
        elif inner:
            found[element] = inner
    return found


def only_below(fields: Fields, patterns: Iterable[Path]) -> Fields:
    """The members at these paths and below them; `*` stands for any step."""
    found: Fields = {}
    for pattern in patterns:
        found = union(found, _below(fields, pattern))
    return found


def _below(fields: Fields, pattern: Path) -> Fields:
    if not pattern:
        return fields
    steps: Mapping[str, Fields] = fields
    if pattern[0] != "*":
        steps = {pattern[0]: fields[pattern[0]]} if pattern[0] in fields else {}
    found: Fields = {}
    for element, below in steps.items():
        if element == SELF:
            continue
        kept = _below(below, pattern[1:])
        # A node that holds nothing is a member; so this one is only where the pattern ends.
        if kept or (len(pattern) == 1 and is_member(below)):
            found[element] = kept
    return found
