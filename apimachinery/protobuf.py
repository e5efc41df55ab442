"""Kubernetes' protobuf encoding of objects, read into the plain dicts of their JSON form.

Go programs that use the typed clients (`kubectl create deployment`, most operators) send objects so. A body is four
magic bytes and a message `Unknown` with the object's kind and its own message. What a message's numbers stand for is
in `protobuf_fields.json`, made by `scripts/protobuf_fields.py`; what is added to Kubernetes later is skipped, as
protobuf wants it.

Sources: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding,
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from apimachinery.meta import Object
from apimachinery.schemas import definition_name
from apimachinery.time import rfc3339, rfc3339_micro

MAGIC = b"k8s\x00"
NESTING_MAX = 64
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_UNKNOWN = "io.k8s.apimachinery.pkg.runtime.Unknown"
_VARINT, _I64, _LENGTH, _I32 = 0, 1, 2, 5
# What stands for nothing where the Go type can't tell it from a value.
_ZEROS: tuple[object, ...] = (None, "", 0, {}, [])

Wire = int | bytes


def decode(body: bytes) -> Object:
    """The object of a body, its apiVersion and kind set. Raises ValueError."""
    if not body.startswith(MAGIC):
        raise ValueError("the body does not begin with the magic bytes of Kubernetes' protobuf encoding")
    envelope = _message(_UNKNOWN, body[len(MAGIC) :], 0)
    api_version, kind = str(envelope.get("apiVersion", "")), str(envelope.get("kind", ""))
    raw = base64.b64decode(envelope.get("raw", ""))
    if envelope.get("contentEncoding"):
        raise ValueError(f"the content encoding {envelope['contentEncoding']!r} is not supported")
    # Options may be sent under the version of any group.
    options = f"{_META}.{kind}"
    name = definition_name(api_version, kind) or (options if options in _table() else None)
    if name is None or name not in _table():
        raise ValueError(
            f"nothing is known of the protobuf encoding of {kind or 'an object'} in version {api_version!r}"
        )
    return {"apiVersion": api_version, "kind": kind, **_message(name, raw, 0)}


@cache
def _table() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = orjson.loads(Path(__file__).with_name("protobuf_fields.json").read_bytes())
    return table


class _Field:
    """A field of a message, as its line in the table says."""

    __slots__ = ("inline", "is_list", "is_map", "kind", "name", "zero_counts")

    def __init__(self, package: str, line: str) -> None:
        self.name, _, form = line.partition(" ")
        self.is_list, self.is_map, self.inline = form.startswith("[]"), form.startswith("{}"), form.startswith("=")
        self.zero_counts = "*" in form
        kind = form.lstrip("[]{}=*")
        # A message of the same package stands without the package.
        self.kind = kind if "." in kind or kind in _SCALARS else f"{package}.{kind}"


@cache
def _fields(message: str) -> dict[int, _Field]:
    package = message.rpartition(".")[0]
    return {int(number): _Field(package, line) for number, line in _table()[message].items()}


def _message(name: str, data: bytes, depth: int) -> Object:
    if depth > NESTING_MAX:
        raise ValueError("the message is nested too deeply")
    fields, found = _fields(name), dict[str, Any]()
    for number, wire in _wire(data):
        field = fields.get(number)
        if field is None:
            continue
        if field.is_map:
            key, value = _map_entry(field.kind, wire, depth)
            found.setdefault(field.name, {})[key] = value
        elif field.is_list:
            found.setdefault(field.name, []).append(_value(field.kind, wire, depth))
        else:
            value = _value(field.kind, wire, depth)
            if field.inline:
                found.update(value)
            elif (field.zero_counts and value is not None) or value not in _ZEROS:
                found[field.name] = value
    return found


def _map_entry(kind: str, wire: Wire, depth: int) -> tuple[str, Any]:
    """An entry of a map is a message of its own: 1 is the key, 2 the value; either may be left out."""
    entry = dict(_wire(_bytes(wire)))
    value = entry.get(2, 0 if kind in _NUMBERS else b"")
    return _text(entry.get(1, b"")), _value(kind, value, depth)


def _value(kind: str, wire: Wire, depth: int) -> Any:
    scalar = _SCALARS.get(kind) or _SPECIAL.get(kind)
    if scalar is not None:
        return scalar(wire)
    value = _message(kind, _bytes(wire), depth + 1)
    name = kind.rpartition(".")[2]
    if name in _LISTS:
        return value.get("items", [])
    if name in _CHOICES:
        # A schema wins over a mere yes; without either nothing was chosen, which is a no.
        return next((value[field] for field in _CHOICES[name] if field in value), False)
    return value


def _wire(data: bytes) -> Iterator[tuple[int, Wire]]:
    """(field number, value) of each field of a message; numbers of fixed width come as their bytes."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        if kind == _LENGTH:
            length, position = _varint(data, position)
        elif kind in (_I64, _I32):
            length = 8 if kind == _I64 else 4
        else:
            raise ValueError(f"protobuf: wire type {kind} is not supported")
        if position + length > end:
            raise ValueError("protobuf: the message is cut off")
        yield tag >> 3, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("protobuf: a number is cut off or too long")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _bytes(wire: Wire) -> bytes:
    if isinstance(wire, int):
        raise ValueError("protobuf: a number stands where a message or text must be")
    return wire


def _text(wire: Wire) -> str:
    return _bytes(wire).decode()


def _base64(wire: Wire) -> str:
    return base64.b64encode(_bytes(wire)).decode()


def _integer(wire: Wire) -> int:
    if not isinstance(wire, int):
        raise ValueError("protobuf: a message or text stands where a number must be")
    return wire - (1 << 64) if wire >= 1 << 63 else wire


def _bool(wire: Wire) -> bool:
    return bool(_integer(wire))


def _double(wire: Wire) -> float:
    data = _bytes(wire)
    if len(data) != 8:
        raise ValueError("protobuf: a number of 64 bits must be")
    found: float = struct.unpack("<d", data)[0]
    return found


def _moment(wire: Wire, form: Callable[[float], str]) -> str | None:
    """A Timestamp; the empty one stands for none."""
    parts = dict(_wire(_bytes(wire)))
    seconds, nanos = _integer(parts.get(1, 0)), _integer(parts.get(2, 0))
    try:
        return form(seconds + nanos / 1e9) if seconds or nanos else None
    except (OverflowError, OSError) as error:
        raise ValueError(f"protobuf: {seconds} is no time that can be written down") from error


def _time(wire: Wire) -> str | None:
    return _moment(wire, rfc3339)


def _micro_time(wire: Wire) -> str | None:
    return _moment(wire, rfc3339_micro)


def _quantity(wire: Wire) -> str:
    return _text(dict(_wire(_bytes(wire))).get(1, b""))


def _int_or_string(wire: Wire) -> int | str:
    parts = dict(_wire(_bytes(wire)))
    return _text(parts.get(3, b"")) if parts.get(1) else _integer(parts.get(2, 0))


def _raw(wire: Wire) -> Any:
    """An object inside of another, in an encoding of its own."""
    data = _bytes(dict(_wire(_bytes(wire))).get(1, b""))
    if data.startswith(MAGIC):
        return decode(data)
    return orjson.loads(data) if data else None


_NUMBERS: dict[str, Callable[[Wire], Any]] = {"int32": _integer, "int64": _integer, "bool": _bool}
_SCALARS: dict[str, Callable[[Wire], Any]] = {**_NUMBERS, "string": _text, "bytes": _base64, "double": _double}
_SPECIAL: dict[str, Callable[[Wire], Any]] = {
    f"{_META}.Time": _time,
    f"{_META}.MicroTime": _micro_time,
    f"{_META}.FieldsV1": _raw,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": _quantity,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": _raw,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": _raw,
}
# Messages that wrap a list, which protobuf can't put into a map or tell from none.
_LISTS = ("ExtraValue", "Verbs")
# Messages of which JSON has only what one of their fields holds.
_CHOICES = {
    "JSONSchemaPropsOrArray": ("jSONSchemas", "schema"),
    "JSONSchemaPropsOrBool": ("schema", "allows"),
    "JSONSchemaPropsOrStringArray": ("property", "schema"),
}
