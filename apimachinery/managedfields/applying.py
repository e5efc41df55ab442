"""Server-side apply: a configuration comes into an object, and its manager manages what it names.

    conflict   a field that is applied with another value than it has, and that another manages
    force      such fields are taken from the others; without it the apply is refused
    gone       what the manager applied before and does not apply now, if nobody else manages it
    shared     what several apply with the same value

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/,
sigs.k8s.io/structured-merge-diff/merge/update.go, k8s.io/apimachinery/pkg/util/managedfields/internal
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

import orjson

from apimachinery.managedfields import sets
from apimachinery.managedfields.compare import Changes, compare, described
from apimachinery.managedfields.conflicts import ConflictError
from apimachinery.managedfields.entries import APPLY, Entry, Identity, Managed, collected, make
from apimachinery.managedfields.kinds import EVERYTHING, Kind, Scope, Writer
from apimachinery.managedfields.merge import merged, with_named, without
from apimachinery.managedfields.sets import Fields
from apimachinery.managedfields.updating import before_first_apply, changes_of, fields_of
from apimachinery.meta import Object

KUBECTL = "kubectl"
# Above this the annotation goes: it would make the object invalid.
ANNOTATIONS_BYTES_MAX = 256 * 1024
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Applied(NamedTuple):
    """The object with the configuration in it, and its managers."""

    obj: Object
    managed: Managed


def apply(
    kind: Kind,
    live: Object,
    managed: Managed,
    config: Object,
    by: Writer,
    *,
    scope: Scope = EVERYTHING,
    force: bool = False,
) -> Applied:
    """Apply a configuration that `check` has nothing against; `live` is empty if there is no object yet.

    The object that is returned is in the version that is applied. Raises ConflictError.
    """
    if live and not managed:
        managed = before_first_apply(kind, live, by, scope)
    try:
        return _applied(kind, live, managed, config, by, scope, force=force)
    except ConflictError as error:
        if by.manager != KUBECTL:
            raise
        # What kubectl applied on the client's side is its own, whoever it was called then.
        own = _last_applied(kind, live, by.api_version)
        left = {who: sets.difference(fields, own) for who, fields in error.conflicts.items()}
        if left := {who: fields for who, fields in left.items() if fields}:
            raise ConflictError(left) from None
    return _applied(kind, live, managed, config, by, scope, force=True)


def _applied(
    kind: Kind, live: Object, managed: Managed, config: Object, by: Writer, scope: Scope, *, force: bool
) -> Applied:
    version, own = by.api_version, by.identity(APPLY)
    type_ = kind.types[version]
    base = kind.convert(live, version) if live else live
    others = {entry.identity: entry for entry in managed if entry.api_version in kind.types}
    last = others.pop(own, None)
    fields = scope.filter(described(type_, config))
    new = merged(type_, base, config)
    if last is not None:
        new = _pruned(kind, new, last, fields, version, others.values())
    changes_in = changes_of(kind, live, new, scope)
    conflicts: dict[Identity, Fields] = {}
    left: list[Entry] = []
    for who, entry in others.items():
        changes = changes_in(entry.api_version) or Changes({}, {})
        mine = fields_of(kind, entry)
        taken = sets.intersection(mine, changes.changed)
        if taken:
            conflicts[who] = taken
        rest = sets.difference(sets.difference(mine, taken), changes.removed)
        if rest:
            left.append(entry if rest is mine else entry.with_fields(rest))
    if conflicts and not force:
        raise ConflictError(conflicts)
    if fields:
        left.append(_own(by, fields, last, moved=any(compare(type_, base, new))))
    if by.manager == KUBECTL:
        new = _with_last_applied(new, config)
    return Applied(new, collected(left))


def _own(by: Writer, fields: Fields, last: Entry | None, *, moved: bool) -> Entry:
    """The entry of who applies; its time moves only if what it manages, or its value, has changed."""
    raw = sets.dumps(fields)
    same = last is not None and last.fields == raw and last.api_version == by.api_version and not moved
    time = last.time if last is not None and same else by.time
    return make(APPLY, time, by.manager, by.api_version, by.subresource, raw)


def _pruned(kind: Kind, new: Object, last: Entry, fields: Fields, version: str, others: Collection[Entry]) -> Object:
    """The object without what its manager applied last and does not apply now, and nobody else manages.

    What was never applied stays, unless the whole that it is in goes.
    """
    before = fields_of(kind, last)
    if last.api_version == version and not sets.difference(before, fields):
        return new
    type_ = kind.types[last.api_version]
    whole = kind.convert(new, last.api_version)
    there = with_named(type_, described(type_, whole))
    gone = with_named(type_, before)
    kept = without(type_, whole, gone)
    kept = _with_managed(kind, whole, kept, last.api_version, fields, version, others)
    # What is not there any more and was not applied either was lost with what it stood in: it comes back.
    left = with_named(type_, described(type_, kept))
    lost = sets.intersection(sets.difference(there, left), gone)
    return kind.convert(without(type_, whole, lost), version)


def _with_managed(
    kind: Kind, whole: Object, kept: Object, at: str, fields: Fields, version: str, others: Iterable[Entry]
) -> Object:
    """What was kept, and of the rest what somebody manages, version by version."""
    managed: dict[str, Fields] = {version: fields}
    for entry in others:
        managed[entry.api_version] = sets.union(managed.get(entry.api_version, {}), fields_of(kind, entry))
    # In the version of what goes first: conversion may need what others manage in it.
    for api_version in sorted(managed, key=lambda one: one != at):
        type_ = kind.types[api_version]
        whole, kept = kind.convert(whole, api_version), kind.convert(kept, api_version)
        named = with_named(type_, managed[api_version])
        left = sets.union(with_named(type_, described(type_, kept)), named)
        kept = without(type_, whole, sets.difference(with_named(type_, described(type_, whole)), left))
    return kind.convert(kept, at)


def _last_applied(kind: Kind, live: Object, version: str) -> Fields:
    """The fields that the client's side has applied last and that still have those values."""
    annotations = (live.get("metadata") or {}).get("annotations") or {}
    try:
        config = orjson.loads(annotations.get(LAST_APPLIED) or "null")
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(config, dict) or config.get("apiVersion") != version:
        return {}
    type_ = kind.types[version]
    try:
        fields = described(type_, config)
    except ValueError:
        return {}
    changes = compare(type_, config, kind.convert(live, version))
    return sets.difference(sets.difference(fields, changes.changed), changes.removed)


def _with_last_applied(new: Object, config: Object) -> Object:
    """The object with the annotation of the client's side brought up to date, if it has one."""
    metadata = new.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    if not annotations.get(LAST_APPLIED):
        return new
    told = {**config, "metadata": dict(config.get("metadata") or {})}
    if own := told["metadata"].get("annotations"):
        told["metadata"]["annotations"] = {key: value for key, value in own.items() if key != LAST_APPLIED}
    text = orjson.dumps(told, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE).decode()
    annotations = {**annotations, LAST_APPLIED: text}
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_BYTES_MAX:
        del annotations[LAST_APPLIED]
    return {**new, "metadata": {**metadata, "annotations": annotations}}
