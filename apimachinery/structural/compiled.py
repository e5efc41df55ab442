"""A schema's value validation as one check in compiled form, for the many objects with which nothing is wrong.

What the check refuses is looked at again by `validation`, whose word counts. Whatever JSON Schema says differently
from Kubernetes is translated: null where a value is nullable, integers or strings, boolean exclusiveMaximum.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import orjson

from apimachinery.structural.formats import FORMATS, normalized
from apimachinery.structural.patterns import matches
from apimachinery.structural.validation import INT64_MAX
from apimachinery.structural.walk import Schema, items_of, properties_of

_SAME = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "multipleOf", "required")
_JUNCTORS = ("allOf", "anyOf", "oneOf")
# A reference takes as much.
_SMALL_BYTES = 40
_DRAFT = "http://json-schema.org/draft-07/schema#"


class ValueCheck:
    """The check of one schema."""

    def __init__(self, schema: Schema) -> None:
        import jsonschema_rs

        translation = _Translation()
        document = {"$schema": _DRAFT, **translation.of(schema), "definitions": translation.definitions}
        self._validator = jsonschema_rs.Draft7Validator(
            document, formats=translation.formats, validate_formats=True, pattern_options=jsonschema_rs.RegexOptions()
        )

    def passes(self, value: Any) -> bool:
        """True if nothing is wrong with a value; False asks for a closer look."""
        return bool(self._validator.is_valid(value))


class _Translation:
    """One schema in the words of JSON Schema.

    What it says more than once, as of the containers of every kind of step, is compiled once: schemas inside of
    others stand among the definitions. That keeps a schema of a megabyte from taking twenty.
    """

    def __init__(self) -> None:
        self.formats: dict[str, Callable[[str], bool]] = {}
        self.definitions: dict[str, Any] = {}
        self._names: dict[bytes, str] = {}

    def _inside(self, schema: Schema) -> dict[str, Any]:
        document = self.of(schema)
        text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        if len(text) < _SMALL_BYTES:
            return document
        name = self._names.setdefault(text, str(len(self._names)))
        self.definitions[name] = document
        return {"$ref": f"#/definitions/{name}"}

    def of(self, schema: Schema) -> dict[str, Any]:
        """The document of a schema."""
        document: dict[str, Any] = {key: schema[key] for key in _SAME if schema.get(key) is not None}
        if "required" in document:
            document["required"] = list(dict.fromkeys(document["required"]))  # JSON Schema wants each named once
        _bounds(schema, document)
        if schema.get("type") == "integer":
            _in_64_bits(document)
        kinds = ["integer", "string"] if schema.get("x-kubernetes-int-or-string") else [schema.get("type")]
        nullable = bool(schema.get("nullable")) or kinds == [None]
        enum = schema.get("enum")
        if enum:
            # Kubernetes takes a null for none of these, even if it stands among them.
            document["enum"] = [value for value in enum if value is not None]
        if kinds != [None]:
            document["type"] = [*kinds, "null"] if nullable else kinds
        _strings(schema, document, self.formats)
        self._below(schema, document)
        # Of a null nothing but its type and the enum is looked at.
        if nullable and not enum and ("not" in document or any(key in document for key in _JUNCTORS)):
            return {"anyOf": [{"type": "null"}, document]}
        return document

    def _below(self, schema: Schema, document: dict[str, Any]) -> None:
        if properties := properties_of(schema):
            document["properties"] = {name: self._inside(inner) for name, inner in properties.items()}
        items, extra = items_of(schema), schema.get("additionalProperties")
        if items is not None:
            document["items"] = self._inside(items)
        if extra is not None:
            document["additionalProperties"] = self._inside(extra) if isinstance(extra, dict) else extra
        for key in _JUNCTORS:
            if schema.get(key):
                document[key] = [*document.get(key, ()), *(self._inside(inner) for inner in schema[key])]
        if schema.get("not") is not None:
            document["not"] = self._inside(schema["not"])


def _bounds(schema: Schema, document: dict[str, Any]) -> None:
    for bound, exclusive in (("maximum", "exclusiveMaximum"), ("minimum", "exclusiveMinimum")):
        if schema.get(bound) is not None:
            document[exclusive if schema.get(exclusive) else bound] = schema[bound]


def _in_64_bits(document: dict[str, Any]) -> None:
    """What is larger is no integer to clients written in Go; a tighter bound holds already."""
    if "maximum" not in document and "exclusiveMaximum" not in document:
        document["maximum"] = INT64_MAX
    if "minimum" not in document and "exclusiveMinimum" not in document:
        document["minimum"] = -INT64_MAX - 1


def _strings(schema: Schema, document: dict[str, Any], formats: dict[str, Callable[[str], bool]]) -> None:
    checks: list[str] = []
    name = normalized(schema.get("format") or "")
    if name in FORMATS:
        formats[f"kubernetes {name}"] = FORMATS[name]
        checks.append(f"kubernetes {name}")
    pattern = schema.get("pattern")
    if pattern and _is_ecma(pattern):
        document["pattern"] = pattern
    elif pattern:
        formats[f"pattern {pattern}"] = partial(matches, pattern)
        checks.append(f"pattern {pattern}")
    if checks:
        document["format"] = checks[0]
        document.update({"allOf": [{"format": check} for check in checks[1:]]} if checks[1:] else {})


@cache
def _is_ecma(pattern: str) -> bool:
    """Whether the compiled check understands a pattern: its expressions are those of JavaScript."""
    import jsonschema_rs

    try:
        jsonschema_rs.Draft7Validator({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions())
        return True
    except (jsonschema_rs.ValidationError, ValueError):
        return False
