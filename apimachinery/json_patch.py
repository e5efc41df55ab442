"""JSON patches (RFC 6902): lists of operations, each done on what the ones before have left.

The document that is given is never changed. Of what an operation changes a copy is made once, however many follow, so
that thousands of operations on a large document do not copy it thousands of times.
"""

from __future__ import annotations

import itertools
from typing import Any

import orjson

from apimachinery.errors import ApiError, bad_request

OPERATIONS_MAX = 10_000
# What copies may add up to: each could otherwise double the document.
COPIED_BYTES_MAX = 3 << 20
# JSON is written no deeper (orjson).
DEPTH_MAX = 250


def json_patch(document: Any, operations: Any) -> Any:
    """The patched document. Raises ApiError: 400 for what is no patch, 413 for too much of one, 422 for one that
    does not fit the document.
    """
    if not isinstance(operations, list):
        raise bad_request("a JSON patch must be a list of operations")
    if len(operations) > OPERATIONS_MAX:
        message = f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(operations)}"
        raise ApiError(413, "RequestEntityTooLarge", message)
    patched = _Patched(document)
    for number, operation in enumerate(operations):
        try:
            patched.operate(operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise _unprocessable(number, operation, error) from error
    try:
        orjson.dumps(patched.document)
    except TypeError as error:  # operations put together what no single one could hold
        raise ApiError(422, "Invalid", f"the patched document is nested too deeply: {error}") from error
    return patched.document


def _unprocessable(number: int, operation: Any, error: Exception) -> ApiError:
    told = operation.get("op") if isinstance(operation, dict) else operation
    where = operation.get("path") if isinstance(operation, dict) else ""
    message = f"the server rejected our request due to an error in our request: operation {number} "
    message += f"({_short(told)} {_short(where)}) can't be applied: {error}"
    return ApiError(422, "Invalid", message)


class _Patched:
    """A document on its way."""

    def __init__(self, document: Any) -> None:
        self.document = document
        # The objects and lists that nobody else holds, kept so that their ids stay theirs.
        self._own: dict[int, Any] = {}
        self._copied_bytes = 0

    def operate(self, operation: Any) -> None:
        """Do one operation. Raises KeyError, IndexError, ValueError or TypeError."""
        if not isinstance(operation, dict):
            raise TypeError("an operation must be an object")
        kind, path = operation["op"], _pointer(operation["path"])
        match kind:
            case "add":
                self._set(path, operation["value"], insert=True)
            case "replace":
                _lookup(self.document, path)
                self._set(path, operation["value"], insert=False)
            case "remove":
                self._remove(path)
            case "move":
                source = _pointer(operation["from"])
                if path[: len(source)] == source and path != source:
                    raise ValueError("a value can't be moved into itself")
                value = _lookup(self.document, source)
                self._remove(source)
                self._set(path, value, insert=True)
            case "copy":
                self._set(path, self._copied(_lookup(self.document, _pointer(operation["from"]))), insert=True)
            case "test":
                # Neither value is told: errors are shown and kept in places where secrets should not be.
                if _lookup(self.document, path) != operation["value"]:
                    raise ValueError("the value there is another one")
            case _:
                raise ValueError(f"unknown operation {_short(kind)}")

    def _copied(self, value: Any) -> Any:
        written = orjson.dumps(value)
        self._copied_bytes += len(written)
        if self._copied_bytes > COPIED_BYTES_MAX:
            raise ValueError(f"the accumulated size of copies exceeds the limit of {COPIED_BYTES_MAX} bytes")
        return orjson.loads(written)

    def _set(self, path: list[str], value: Any, *, insert: bool) -> None:
        if not path:
            self.document = value
            return
        holder, last = self._holder(path), path[-1]
        if isinstance(holder, list):
            number = _index(holder, last, end=insert)
            if insert:
                holder.insert(number, value)
            else:
                holder[number] = value
        else:
            holder[last] = value

    def _remove(self, path: list[str]) -> None:
        _lookup(self.document, path)
        if not path:
            self.document = None
            return
        holder, last = self._holder(path), path[-1]
        del holder[_index(holder, last, end=False) if isinstance(holder, list) else last]

    def _holder(self, path: list[str]) -> Any:
        """The object or list that a path ends in, which may be changed, as may be all that it is in."""
        self.document = holder = self._owned(self.document, path[0])
        for step, following in itertools.pairwise(path):
            place: Any = _index(holder, step, end=False) if isinstance(holder, list) else step
            if isinstance(holder, dict) and step not in holder:
                raise ValueError(f"there is no {_short(step)}")
            holder[place] = self._owned(holder[place], following)
            holder = holder[place]
        return holder

    def _owned(self, value: Any, step: str) -> Any:
        if not isinstance(value, dict | list):
            raise ValueError(f"{_short(step)} leads into a value that is neither object nor list")
        if id(value) not in self._own:
            value = value.copy()
            self._own[id(value)] = value
        return value


def _short(value: Any) -> str:
    """What errors show of a value, which may be all of a large object."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _pointer(text: str) -> list[str]:
    """The steps of a JSON pointer (RFC 6901)."""
    if text == "":
        return []
    if not text.startswith("/"):
        raise ValueError(f"{_short(text)} is no JSON pointer")
    if text.count("/") > DEPTH_MAX:
        raise ValueError(f"the pointer has more than {DEPTH_MAX} steps")
    return [step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/")]


def _index(items: list[Any], step: str, *, end: bool) -> int:
    if step == "-" and end:
        return len(items)
    if not step.isascii() or not step.isdigit() or (len(step) > 1 and step[0] == "0"):
        raise ValueError(f"{_short(step)} is no index of a list")
    number = int(step) if len(step) < 10 else len(items) + 1
    if number >= len(items) + (1 if end else 0):
        raise IndexError(f"index {_short(step)} is out of bounds")
    return number


def _lookup(document: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(document, list):
            document = document[_index(document, step, end=False)]
        elif isinstance(document, dict):
            if step not in document:
                raise ValueError(f"there is no {_short(step)}")
            document = document[step]
        else:
            raise ValueError(f"{_short(step)} leads into a value that is neither object nor list")
    return document
