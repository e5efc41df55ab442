"""The three patch formats of the API, as pure functions from (document, patch) to a new document.

    json_patch              RFC 6902: a list of operations
    merge_patch             RFC 7386: null removes, lists are replaced whole
    strategic_merge_patch   Kubernetes' own: lists of objects are merged by the key that the schema names

Documents are never changed; unchanged parts are shared with the result.
Source: https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
"""

from __future__ import annotations

from typing import Any

import orjson

from apimachinery.errors import ApiError, bad_request
from apimachinery.json_patch import json_patch
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apimachinery.schemas import Definition, definition_name, definitions, field_schema, resolve

__all__ = ["json_patch", "merge_patch", "strategic_merge_patch"]

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER, _DELETE_FROM = "$setElementOrder/", "$deleteFromPrimitiveList/"


def merge_patch(document: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_merge_patch(resource: Resource, document: Object, patch: Object) -> Object:
    """Kubernetes' strategic merge patch; the merge keys are those of the resource's schema. Raises ApiError."""
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch must be an object")
    name = definition_name(resource.api_version, resource.kind)
    if name is None:
        raise ApiError(415, "UnsupportedMediaType", f"{resource.kind} has no schema to merge by")
    merged = _merge_map(document, patch, definitions()[name])
    return merged if merged is not None else {}


def _merge_map(document: Object, patch: Object, node: Definition) -> Object | None:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f'Unknown patch type "{directive}"')
    definition = resolve(node)
    merged = dict(document)
    if patch.get(_RETAIN) is not None:
        retained = _list(patch, _RETAIN)
        merged = {key: value for key, value in merged.items() if key in retained}
    for key, value in patch.items():
        if key in (_DIRECTIVE, _RETAIN) or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE_FROM):
            field, deleted = key.removeprefix(_DELETE_FROM), set(map(_identity, _list(patch, key)))
            if isinstance(merged.get(field), list):
                merged[field] = [item for item in merged[field] if _identity(item) not in deleted]
            continue
        if value is None:
            merged.pop(key, None)
            continue
        merged[key] = _merge_value(merged.get(key), value, field_schema(definition, key) or {})
    for key in patch:
        if key.startswith(_ORDER):
            field, order = key.removeprefix(_ORDER), _list(patch, key)
            if isinstance(merged.get(field), list):
                merge_by = (field_schema(definition, field) or {}).get("x-kubernetes-patch-merge-key")
                _check_order(patch.get(field), order, merge_by)
                before = document.get(field) if isinstance(document.get(field), list) else []
                before = _places_kept(before or [], patch.get(field), merge_by)
                merged[field] = _ordered(merged[field], order, before, merge_by)
    return merged


def _list(patch: Object, key: str) -> list[Any]:
    value = patch[key]
    if not isinstance(value, list):
        raise bad_request(f"the value of {key} must be a list")
    return value


def _check_order(patch: Any, order: list[Any], key: str | None) -> None:
    """What a patch has for a list must be in the order that it asks for."""
    if not order or not isinstance(patch, list):
        return
    wanted = iter(_identity(item, key) for item in order)
    for item in patch:
        if not (isinstance(item, dict) and _DIRECTIVE in item) and _identity(item, key) not in wanted:
            raise bad_request(f"The order in patch list:\n{patch}\n doesn't match {_ORDER} list:\n{order}\n")


def _places_kept(before: list[Any], patch: Any, key: str | None) -> list[Any]:
    """The list as it was, to order by: what a patch adds takes the places that become free by what it deletes."""
    listed = [item for item in patch if isinstance(item, dict)] if key is not None and isinstance(patch, list) else []
    deleted = {_identity(item, key) for item in listed if item.get(_DIRECTIVE) == "delete"}
    if not deleted:
        return before
    had = set(_places(before, key))
    added = [item for item in listed if _DIRECTIVE not in item and _identity(item, key) not in had]
    return [*(item for item in before if _identity(item, key) not in deleted), *added][: len(before)]


def _merge_value(old: Any, value: Any, node: Definition) -> Any:
    strategy = str(node.get("x-kubernetes-patch-strategy", ""))
    if isinstance(value, dict):
        if strategy == "replace":
            return value
        return _merge_map(old if isinstance(old, dict) else {}, value, node)
    if isinstance(value, list):
        if "merge" in strategy.split(","):
            return _merge_list(old if isinstance(old, list) else [], value, node)
        return [_plain(item) for item in value]
    return value


def _plain(item: Any) -> Any:
    return {k: v for k, v in item.items() if k != _DIRECTIVE} if isinstance(item, dict) else item


def _merge_list(old: list[Any], patch: list[Any], node: Definition) -> list[Any]:
    key = node.get("x-kubernetes-patch-merge-key")
    if key is None:
        known = set(map(_identity, old))
        new = {identity: item for item in patch if (identity := _identity(item)) not in known}
        return _ordered([*old, *new.values()], patch, old, None)
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and item.get(_DIRECTIVE) == "replace")]
    merged: dict[int, Any] = dict(enumerate(old))
    places: dict[Any, list[int]] = {}
    for number, item in enumerate(old):
        places.setdefault(_identity(item, key), []).append(number)
    for number, item in enumerate(patch, start=len(old)):
        if not isinstance(item, dict):
            raise bad_request(f"a list merged by {key!r} can only be patched with objects")
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        identity = _identity(item, key)
        if item.get(_DIRECTIVE) == "delete":
            for place in places.pop(identity, ()):
                del merged[place]
        elif identity in places:
            place = places[identity][0]
            merged[place] = _merge_map(merged[place], item, node.get("items", {}))
        else:
            places[identity] = [number]
            merged[number] = _merge_map({}, {k: v for k, v in item.items() if k != _DIRECTIVE}, node.get("items", {}))
    return _ordered(list(merged.values()), patch, old, key)


def _identity(item: Any, key: str | None = None) -> Any:
    """What tells an element of a list from the others: its merge key, or without one all of it."""
    value = item.get(key) if key is not None and isinstance(item, dict) else item
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _ordered(items: list[Any], wanted: list[Any], before: list[Any], key: str | None) -> list[Any]:
    """The merged list: what `wanted` names is in that order, and the rest as it was before.

    Where the two meet, an element of the rest comes first only if it was before the other in the list as it was:
    what a patch adds stands before all elements that it does not name.
    """
    order, places = _places(wanted, key), _places(before, key)
    identified = [(_identity(item, key), item) for item in items]
    named = sorted((one for one in identified if one[0] in order), key=lambda one: order[one[0]])
    rest = [one for one in identified if one[0] not in order]
    merged: list[Any] = []
    left, right = 0, 0
    while left < len(rest) and right < len(named):
        (unnamed, item), (identity, other) = rest[left], named[right]
        was_first = unnamed in places and identity in places and places[unnamed] < places[identity]
        merged.append(item if was_first else other)
        left, right = (left + 1, right) if was_first else (left, right + 1)
    return [*merged, *(item for _, item in rest[left:]), *(item for _, item in named[right:])]


def _places(items: list[Any], key: str | None) -> dict[Any, int]:
    """Where each element stands first."""
    found: dict[Any, int] = {}
    for number, item in enumerate(items):
        found.setdefault(_identity(item, key), number)
    return found
