"""OpenAPI 2 in the protobuf form that clients before 1.27 insist on, for checking what they send and for `explain`.

The numbers are those of the messages in gnostic's OpenAPIv2.proto, of which only what our documents contain is
written. Source: https://github.com/google/gnostic and https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

# Clients ask for `…spec.v2@v1.0+protobuf`, which is no media type that they could read in an answer.
MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def encode_head(info: dict[str, Any]) -> bytes:
    """The beginning of a `Document` message; bodies follow, as many as there are: a reader puts them together."""
    return _message(_text(1, "2.0"), _nested(2, _message(_text(1, info["title"]), _text(2, info["version"]))))


def encode_body(document: dict[str, Any]) -> bytes:
    """The paths and definitions of an OpenAPI 2 document, as fields of a `Document` message."""
    definitions = document["definitions"]
    paths = [_nested(2, _named(path, _path_item(item))) for path, item in document["paths"].items()]
    schemas = [_nested(1, _named(name, _schema(schema))) for name, schema in definitions.items()]
    return _message(_nested(8, _message(*paths)), _nested(9, _message(*schemas)))


def _path_item(item: dict[str, Any]) -> bytes:
    operations = [_nested(number, _operation(item[method])) for method, number in _METHODS.items() if method in item]
    return _message(*operations, *_parameters(9, item["parameters"]))


def _operation(operation: dict[str, Any]) -> bytes:
    responses = [_nested(1, _named(code, _response(one))) for code, one in operation["responses"].items()]
    return _message(
        *_texts(1, operation["tags"]),
        _text(3, operation["description"]),
        _text(5, operation["operationId"]),
        *_texts(6, operation["produces"]),
        *_texts(7, operation["consumes"]),
        *_parameters(8, operation["parameters"]),
        _nested(9, _message(*responses)),
        *_texts(10, operation["schemes"]),
        *_extensions(13, operation),
    )


def _parameters(number: int, parameters: Iterable[dict[str, Any]]) -> list[bytes]:
    # Each is a ParametersItem around a Parameter around the kind of parameter that it is.
    return [_nested(number, _nested(1, _parameter(parameter))) for parameter in parameters]


def _parameter(parameter: dict[str, Any]) -> bytes:
    required = _flag(4 if parameter["in"] == "body" else 1, parameter.get("required", False))
    if parameter["in"] == "body":
        schema = _nested(5, _schema(parameter["schema"]))
        return _nested(1, _message(_text(2, parameter["name"]), _text(3, "body"), required, schema))
    kind, of_type, unique = {"query": (3, 6, 20), "path": (4, 5, 19)}[parameter["in"]]
    fields = _message(
        required,
        _text(2, parameter["in"]),
        _text(3, parameter["description"]),
        _text(4, parameter["name"]),
        _text(of_type, parameter["type"]),
        _flag(unique, parameter["uniqueItems"]),
    )
    return _nested(2, _nested(kind, fields))


def _response(response: dict[str, Any]) -> bytes:
    schema = _nested(2, _nested(1, _schema(response["schema"]))) if "schema" in response else b""
    return _nested(1, _message(_text(1, response["description"]), schema))


def _schema(schema: dict[str, Any]) -> bytes:
    properties = [_nested(1, _named(name, _schema(one))) for name, one in schema.get("properties", {}).items()]
    return _message(
        _text(1, schema.get("$ref", "")),
        _text(2, schema.get("format", "")),
        _text(4, schema.get("description", "")),
        *_texts(19, schema.get("required", ())),
        _nested(21, _nested(1, _schema(schema["additionalProperties"]))) if "additionalProperties" in schema else b"",
        _nested(22, _text(1, schema["type"])) if "type" in schema else b"",
        _nested(23, _nested(1, _schema(schema["items"]))) if "items" in schema else b"",
        _nested(25, _message(*properties)) if properties else b"",
        *_extensions(31, schema),
    )


def _extensions(number: int, node: dict[str, Any]) -> list[bytes]:
    """What begins with `x-`, as YAML (which JSON is)."""
    found = {name: value for name, value in node.items() if name.startswith("x-")}
    return [_nested(number, _named(name, _text(2, orjson.dumps(value).decode()))) for name, value in found.items()]


def _named(name: str, value: bytes) -> bytes:
    return _message(_text(1, name), _nested(2, value))


def _message(*fields: bytes) -> bytes:
    return b"".join(fields)


def _texts(number: int, values: Iterable[str]) -> list[bytes]:
    return [_nested(number, value.encode()) for value in values]


def _text(number: int, value: str) -> bytes:
    """A string; the empty one is what a reader assumes where nothing stands."""
    return _nested(number, value.encode()) if value else b""


def _nested(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _flag(number: int, value: bool) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
