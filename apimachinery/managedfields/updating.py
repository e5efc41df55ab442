"""The managers of an object after an update: who updates manages what the update changes, and nobody else does.

What is removed is managed by nobody. An update that changes nothing leaves everything as it was.

Source: sigs.k8s.io/structured-merge-diff/merge/update.go and k8s.io/apimachinery/pkg/util/managedfields/internal
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

import orjson

from apimachinery.managedfields import sets
from apimachinery.managedfields.compare import Changes, compare
from apimachinery.managedfields.entries import UPDATE, Entry, Managed, alone, capped, collected, make
from apimachinery.managedfields.kinds import EVERYTHING, Kind, Scope, Writer
from apimachinery.managedfields.sets import Fields
from apimachinery.managedfields.types import ATOMIC, UNTRACKED_METADATA, Type
from apimachinery.meta import Object

BEFORE_FIRST_APPLY = "before-first-apply"
NOTHING = sets.dumps({})
# What changes in a version; None if that version is no longer known.
ChangesIn = Callable[[str], Changes | None]


def created(kind: Kind, new: Object, by: Writer, scope: Scope = EVERYTHING) -> Managed:
    """The managers of a new object: one, of all that was sent."""
    type_, new = kind.types[by.api_version], kind.convert(new, by.api_version)
    if "spec" in new:
        metadata = {key: value for key, value in new["metadata"].items() if key not in UNTRACKED_METADATA}
        raw = _fields_of_new(type_, scope, orjson.dumps({**new, "metadata": metadata}))
    else:
        raw = sets.dumps(scope.filter(compare(type_, {}, new).changed))
    if raw == NOTHING:
        return ()
    return alone(UPDATE, by.time, by.manager, by.api_version, by.subresource, raw)


@lru_cache(maxsize=128)
def _fields_of_new(kind: Type, scope: Scope, raw: bytes) -> bytes:
    """What objects with a spec are made of mostly comes from a template: but for their names they are the same."""
    return sets.dumps(scope.filter(compare(kind, {}, orjson.loads(raw)).changed))


def updated(kind: Kind, managed: Managed, old: Object, new: Object, by: Writer, scope: Scope = EVERYTHING) -> Managed:
    """The managers after an update from one version of an object to another; the same if nothing changes."""
    changes_in = changes_of(kind, old, new, scope)
    changes = changes_in(by.api_version)
    if changes is None or not (changes.changed or changes.removed):
        return managed
    own = by.identity(UPDATE)
    entries: list[Entry] = []
    changed = changes.changed
    for entry in managed:
        if changed and entry.identity == own:
            mine = fields_of(kind, entry)
            fields = sets.union(sets.difference(mine, changes.removed), changed)
            entries.append((entry if fields is mine else entry.with_fields(fields)).at(by.time))
            changed = {}
        else:
            entries += _left(kind, entry, changes_in(entry.api_version))
    if changed:
        entries.append(make(UPDATE, by.time, by.manager, by.api_version, by.subresource, sets.dumps(changed)))
    return capped(collected(entries))


def _left(kind: Kind, entry: Entry, changes: Changes | None) -> Iterable[Entry]:
    """What another manager keeps: neither what is changed nor what is gone."""
    if changes is None:
        return
    mine = fields_of(kind, entry)
    left = sets.difference(sets.difference(mine, changes.changed), changes.removed)
    if left is mine:
        yield entry
    elif left:
        yield entry.with_fields(left)


def changes_of(kind: Kind, old: Object, new: Object, scope: Scope) -> ChangesIn:
    """What changes, in each version in which it is asked for."""
    known: dict[str, Changes | None] = {}

    def changes_in(api_version: str) -> Changes | None:
        if api_version not in known:
            type_ = kind.types.get(api_version)
            if type_ is None:
                known[api_version] = None
            else:
                before, after = kind.convert(old, api_version) if old else old, kind.convert(new, api_version)
                known[api_version] = scope.changes(compare(type_, scope.part(before), scope.part(after)))
        return known[api_version]

    return changes_in


def before_first_apply(kind: Kind, live: Object, by: Writer, scope: Scope) -> Managed:
    """The managers of an object that had none, for its first apply: one of all that is there."""
    return created(kind, live, by._replace(manager=BEFORE_FIRST_APPLY), scope)


def fields_of(kind: Kind, entry: Entry) -> Fields:
    """The fields of an entry, as of today's schema."""
    fields = sets.loads(entry.fields)
    return reconciled(kind.types[entry.api_version], fields) if kind.changes else fields


def reconciled(kind: Type, fields: Fields) -> Fields:
    """The set with what has become one whole since it was made; its parts are no members any more."""
    found: Fields | None = None
    for element, below in fields.items():
        inner = _inner(kind, element)
        if not below or inner is None or inner.deduced:
            continue
        whole = not inner.granular if inner.is_map else inner.list_kind == ATOMIC
        new = sets.LEAF if whole else reconciled(inner, below)
        if new is not below:
            found = dict(fields) if found is None else found
            found[element] = new
    return fields if found is None else found


def _inner(kind: Type, element: str) -> Type | None:
    if element.startswith("f:"):
        known = kind.field(element[2:])
        return known.type if known is not None else None
    return kind.items
