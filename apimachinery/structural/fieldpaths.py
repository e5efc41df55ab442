"""Paths to fields that a schema has, as `.spec.replicas` or `.labels['example.com/name']`.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel (ValidFieldPath), whose words are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from apimachinery.structural.walk import Schema, properties_of, values_of

_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]]+")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}
NO_FIELD = "does not refer to a valid field"


class PathError(Exception):
    """A path that leads to no field of a schema."""


def resolve_path(text: str, schema: Schema, *, brackets: bool = True) -> tuple[str, Schema]:
    """(the path as it stands in messages, the schema that it leads to). Raises PathError."""
    path, tokens = "", iter(_TOKEN.findall(text))
    for token in tokens:
        if token == "[":
            if not brackets:
                raise PathError("array notation is not allowed")
            name = _unquoted(_next(tokens))
        elif token == ".":
            name = _next(tokens)
        else:
            raise PathError(f"expected [ or . but got: {token}")
        path, schema = _step(path, name, schema)
        if token == "[" and (closing := _next(tokens)) != "]":
            raise PathError(f"expected ] but got {closing}")
    return path.removeprefix("."), schema


def _next(tokens: Iterator[str]) -> str:
    found = next(tokens, None)
    if found is None:
        raise PathError("unexpected end of JSON path")
    return found


def _unquoted(token: str) -> str:
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise PathError(f"expected single quoted string but got {token}")

    def unescape(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise PathError(f"invalid string literal: invalid escape char {match[0]}")
        return _ESCAPES[match[1]]

    return _ESCAPE.sub(unescape, token[1:-1])


def _step(path: str, name: str, schema: Schema) -> tuple[str, Schema]:
    properties, values = properties_of(schema), values_of(schema)
    if properties:
        if name not in properties:
            raise PathError(NO_FIELD)
        return f"{path}.{name}", properties[name]
    if values is None:
        raise PathError(NO_FIELD)
    return f"{path}[{name}]", values
