"""The three patch formats of the API, as pure functions from (document, patch) to a new document.

    json_patch              RFC 6902: a list of operations
    merge_patch             RFC 7386: null removes, lists are replaced whole
    strategic_merge_patch   Kubernetes' own: lists of objects are merged by the key that the schema names

Documents are never changed; unchanged parts are shared with the result.
Source: https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
"""

from __future__ import annotations

from typing import Any

from apimachinery.errors import ApiError, bad_request
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apimachinery.schemas import Definition, definition_name, definitions, field_schema, resolve

OPERATIONS_MAX = 10_000
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


def json_patch(document: Any, operations: Any) -> Any:
    """RFC 6902. Raises ApiError: 400 for what is no patch, 422 for one that does not fit the document."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch must be a list of operations")
    if len(operations) > OPERATIONS_MAX:
        message = f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(operations)}"
        raise ApiError(413, "RequestEntityTooLarge", message)
    for number, operation in enumerate(operations):
        try:
            document = _operate(document, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise _unprocessable(number, operation, error) from error
    return document


def _unprocessable(number: int, operation: Any, error: Exception) -> ApiError:
    told = operation.get("op") if isinstance(operation, dict) else operation
    where = operation.get("path") if isinstance(operation, dict) else ""
    message = f"the server rejected our request due to an error in our request: operation {number} "
    message += f"({told} {where}) can't be applied: {error}"
    return ApiError(422, "Invalid", message)


def _operate(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise TypeError("an operation must be an object")
    kind, path = operation["op"], _pointer(operation["path"])
    match kind:
        case "add":
            return _set(document, path, operation["value"], insert=True)
        case "replace":
            _lookup(document, path)
            return _set(document, path, operation["value"], insert=False)
        case "remove":
            return _remove(document, path)
        case "move":
            source = _pointer(operation["from"])
            if path[: len(source)] == source and path != source:
                raise ValueError("a value can't be moved into itself")
            value = _lookup(document, source)
            return _set(_remove(document, source), path, value, insert=True)
        case "copy":
            return _set(document, path, _lookup(document, _pointer(operation["from"])), insert=True)
        case "test":
            found = _lookup(document, path)
            if found != operation["value"]:
                raise ValueError(f"the value there is {found!r}, not {operation['value']!r}")
            return document
    raise ValueError(f"unknown operation {kind!r}")


def _pointer(text: str) -> list[str]:
    """The steps of a JSON pointer (RFC 6901)."""
    if text == "":
        return []
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is no JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/")]


def _index(items: list[Any], step: str, *, end: bool) -> int:
    if step == "-" and end:
        return len(items)
    if not step.isdigit() or (len(step) > 1 and step[0] == "0"):
        raise ValueError(f"{step!r} is no index of a list")
    number = int(step)
    if number >= len(items) + (1 if end else 0):
        raise IndexError(f"index {number} is out of bounds")
    return number


def _lookup(document: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(document, list):
            document = document[_index(document, step, end=False)]
        elif isinstance(document, dict):
            if step not in document:
                raise ValueError(f"there is no {step!r}")
            document = document[step]
        else:
            raise ValueError(f"{step!r} leads into a value that is neither object nor list")
    return document


def _set(document: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(document, list):
        number = _index(document, step, end=not rest and insert)
        if rest:
            return [
                *document[:number],
                _set(document[number], rest, value, insert=insert),
                *document[number + 1 :],
            ]
        return [*document[:number], value, *document[number + (0 if insert else 1) :]]
    if not isinstance(document, dict):
        raise ValueError(f"{step!r} leads into a value that is neither object nor list")
    if rest:
        if step not in document:
            raise ValueError(f"there is no {step!r}")
        return {**document, step: _set(document[step], rest, value, insert=insert)}
    return {**document, step: value}


def _remove(document: Any, path: list[str]) -> Any:
    _lookup(document, path)
    if not path:
        return None
    step, rest = path[0], path[1:]
    if isinstance(document, list):
        number = _index(document, step, end=False)
        inner = [_remove(document[number], rest)] if rest else []
        return [*document[:number], *inner, *document[number + 1 :]]
    if rest:
        return {**document, step: _remove(document[step], rest)}
    return {key: value for key, value in document.items() if key != step}


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
    if (retained := patch.get(_RETAIN)) is not None:
        merged = {key: value for key, value in merged.items() if key in retained}
    for key, value in patch.items():
        if key in (_DIRECTIVE, _RETAIN) or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE_FROM):
            field = key.removeprefix(_DELETE_FROM)
            merged[field] = [item for item in merged.get(field) or [] if item not in value]
            continue
        if value is None:
            merged.pop(key, None)
            continue
        merged[key] = _merge_value(merged.get(key), value, field_schema(definition, key) or {})
    for key, order in patch.items():
        if key.startswith(_ORDER):
            field = key.removeprefix(_ORDER)
            if isinstance(merged.get(field), list):
                before = document.get(field) if isinstance(document.get(field), list) else []
                merge_by = (field_schema(definition, field) or {}).get("x-kubernetes-patch-merge-key")
                merged[field] = _ordered(merged[field], order, before or [], merge_by)
    return merged


def _merge_value(old: Any, value: Any, node: Definition) -> Any:
    strategy = str(node.get("x-kubernetes-patch-strategy", ""))
    if isinstance(value, dict):
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
        both = [*old, *(item for n, item in enumerate(patch) if item not in old and item not in patch[:n])]
        return _ordered(both, patch, old, None)
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and item.get(_DIRECTIVE) == "replace")]
    merged = list(old)
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"a list merged by {key!r} can only be patched with objects")
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        place = next((n for n, have in enumerate(merged) if have.get(key) == item[key]), None)
        if item.get(_DIRECTIVE) == "delete":
            merged = [have for have in merged if have.get(key) != item[key]]
        elif place is None:
            new = _merge_map({}, {k: v for k, v in item.items() if k != _DIRECTIVE}, node.get("items", {}))
            merged.append(new)
        else:
            merged[place] = _merge_map(merged[place], item, node.get("items", {}))
    return _ordered(merged, patch, old, key)


def _ordered(items: list[Any], wanted: list[Any], before: list[Any], key: str | None) -> list[Any]:
    """The merged list: what `wanted` names is in that order, and the rest as it was before.

    Where the two meet, an element of the rest comes first only if it was before the other in the list as it was:
    what a patch adds stands before all elements that it does not name.
    """

    def identity(item: Any) -> Any:
        return item.get(key) if key is not None and isinstance(item, dict) else item

    order, places = [identity(item) for item in wanted], [identity(item) for item in before]
    named = sorted((i for i in items if identity(i) in order), key=lambda item: order.index(identity(item)))
    rest = [item for item in items if identity(item) not in order]
    merged: list[Any] = []
    while named and rest:
        left, right = identity(rest[0]), identity(named[0])
        was_first = left in places and right in places and places.index(left) < places.index(right)
        merged.append(rest.pop(0) if was_first else named.pop(0))
    return [*merged, *rest, *named]
