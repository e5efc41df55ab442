"""The patch that `apply` sends: what the file says, and the removal of what it no longer says.

Pure. The patch names every field of the file that differs from the live object and sets to null the fields
that the last applied form had and the file has not. Lists of objects are merged by the server according to
the merge keys of the schema; elements that are gone from the file are named with `$patch: delete`, plain values with
`$deleteFromPrimitiveList`.

Source: https://kubernetes.io/docs/tasks/manage-kubernetes-objects/declarative-config/#merge-patch-calculation
"""

from __future__ import annotations

from typing import Any

import orjson

from apimachinery.meta import Object
from apimachinery.schemas import merge_key, merges_values

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def three_way_patch(desired: Object, live: Object) -> Object:
    """The patch from `live` to `desired`, whose annotation holds what is applied; {} if nothing differs."""
    record = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    try:
        last = orjson.loads(record) if record else {}
    except ValueError:
        last = {}  # somebody has damaged the annotation: then nothing is known to be removed
    patch = _map_patch(last, desired, live, (desired["apiVersion"], desired["kind"]), ())
    for fixed in ("apiVersion", "kind"):
        patch.pop(fixed, None)
    return patch


def _map_patch(last: Any, desired: Object, live: Object, kind: tuple[str, str], path: tuple[str, ...]) -> Object:
    patch: Object = {}
    for key in last if isinstance(last, dict) else ():
        if key not in desired and key in live:
            patch[key] = None
    for key, value in desired.items():
        if value is None:
            if key in live:
                patch[key] = None
            continue
        old = live.get(key)
        earlier = last.get(key) if isinstance(last, dict) else None
        here = (*path, key)
        if isinstance(value, dict) and isinstance(old, dict):
            inner = _map_patch(earlier or {}, value, old, kind, here)
            if inner:
                patch[key] = inner
        elif isinstance(value, list) and isinstance(old, list):
            if merges_values(*kind, here):
                patch |= _values_patch(key, earlier or [], value, old)
                continue
            inner_list = _list_patch(earlier or [], value, old, kind, here)
            if inner_list is not None:
                patch[key] = inner_list
        elif value != old:
            patch[key] = value
    return patch


def _values_patch(field: str, last: list[Any], desired: list[Any], live: list[Any]) -> Object:
    """What adds to and deletes from a list of plain values."""
    added = [value for value in desired if value not in live]
    gone = [value for value in last if value in live and value not in desired]
    patch: Object = {field: added} if added else {}
    return patch | ({f"$deleteFromPrimitiveList/{field}": gone} if gone else {})


def _list_patch(
    last: list[Any], desired: list[Any], live: list[Any], kind: tuple[str, str], path: tuple[str, ...]
) -> list[Any] | None:
    """The list to send, or None if nothing differs; an atomic list is sent whole."""
    key = merge_key(*kind, path)
    if key is None:
        return None if desired == live else desired
    by_key = {item[key]: item for item in live if isinstance(item, dict) and key in item}
    earlier = {item[key]: item for item in last if isinstance(item, dict) and key in item}
    names = [item.get(key) for item in desired]
    patch: list[Any] = []
    for item in desired:
        old = by_key.get(item.get(key))
        if old is None:
            patch.append(item)
            continue
        changes = _map_patch(earlier.get(item[key], {}), item, old, kind, path)
        if changes:
            patch.append({key: item[key], **changes})
    patch += [{key: name, "$patch": "delete"} for name in earlier if name not in names and name in by_key]
    return patch or None
