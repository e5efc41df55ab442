"""A request's body becomes an object: JSON, YAML or protobuf, of the right kind, without fields that nobody knows.

`fieldValidation` says what happens to unknown and duplicate fields: they are dropped, and with `Strict` the request
is refused, with `Warn` (the default) the client is told in `Warning` headers, with `Ignore` it is not.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
from aiohttp import web

from apimachinery import schemas
from apimachinery.errors import ApiError, bad_request, invalid, request_entity_too_large, unsupported_media_type
from apimachinery.field import FieldError, invalid_value, limited, not_supported
from apimachinery.meta import Object, get_path
from apimachinery.resources import Resource
from apiserver.rest.call import Call, options_error

BODY_BYTES_MAX = 3 << 20
# Parsing takes long enough to be noticed by others: above these sizes it is done in a thread.
JSON_BYTES_IN_LOOP_MAX, YAML_BYTES_IN_LOOP_MAX, PROTOBUF_BYTES_IN_LOOP_MAX = 256 << 10, 8 << 10, 32 << 10
JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_FIELD_VALIDATION = ("Ignore", "Warn", "Strict")


async def read_body(request: web.BaseRequest) -> bytes:
    """The whole body. Raises ApiError 413 as soon as it is known to be too large."""
    too_large = request_entity_too_large(f"Request entity is too large: limit is {BODY_BYTES_MAX}")
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise too_large
    if not request.body_exists:
        return b""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # the client waits for this with a large body
    body = await request.content.readany()
    if request.content.at_eof():
        return body
    pieces, size = [body], len(body)
    async for piece in request.content.iter_any():
        size += len(piece)
        if size > BODY_BYTES_MAX:
            raise too_large
        pieces.append(piece)
    return b"".join(pieces)


def media_type(request: web.BaseRequest) -> str:
    """The type of the body, `application/json` if the request does not say."""
    return request.headers.get("Content-Type", JSON).partition(";")[0].strip().lower() or JSON


async def parse(body: bytes, kind: str) -> tuple[Any, list[str]]:
    """The document of a body of this media type, and the paths of the keys that it has twice. Raises ApiError."""
    if kind == JSON:
        return await parse_json_apart(body)
    if kind in (YAML, "application/x-yaml", "text/yaml"):
        from apiserver.rest import yaml_body

        if len(body) <= YAML_BYTES_IN_LOOP_MAX:
            return yaml_body.parse(body)
        return await asyncio.to_thread(yaml_body.parse, body)
    if kind == PROTOBUF:
        from apimachinery import protobuf

        try:
            if len(body) <= PROTOBUF_BYTES_IN_LOOP_MAX:
                return protobuf.decode(body), []
            return await asyncio.to_thread(protobuf.decode, body), []
        except ValueError as error:
            raise bad_request(f"the object provided is unrecognized: {error}") from error
    raise _unknown_format(JSON, YAML, PROTOBUF)


def _unknown_format(*accepted: str) -> ApiError:
    told = "the body of the request was in an unknown format - accepted media types include: "
    return unsupported_media_type(told + ", ".join(accepted))


async def parse_json_apart(body: bytes) -> tuple[Any, list[str]]:
    """`parse_json`, in a thread if it is much."""
    if len(body) <= JSON_BYTES_IN_LOOP_MAX:
        return parse_json(body)
    return await asyncio.to_thread(parse_json, body)


def parse_json(body: bytes) -> tuple[Any, list[str]]:
    """A JSON document, and the paths of the keys that it has twice. Raises ApiError 400."""
    try:
        document = orjson.loads(body)
        # A key that stands twice is lost in parsing. What comes back as long as it came can have lost nothing.
        if len(orjson.dumps(document)) == len(body):
            return document, []
        return document, duplicate_keys(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the object provided is unrecognized: {error} ({_summary(body)})") from error
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise bad_request(f"the object provided is nested too deeply ({_summary(body)})") from error


class _Pairs(dict[str, Any]):
    """A JSON object that remembers which of its keys stood twice."""

    twice: tuple[str, ...] = ()


def duplicate_keys(body: bytes) -> list[str]:
    """The paths of the keys of a JSON document that stand twice in one object."""

    def remember(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = _Pairs(pairs)
        if len(found) < len(pairs):
            found.twice = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return found

    return list(_twice(json.loads(body, object_pairs_hook=remember), ""))


def _twice(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _twice(item, f"{path}[{number}]")
    elif isinstance(value, _Pairs):
        yield from (f"{path}.{key}".lstrip(".") for key in value.twice)
        for key, inner in value.items():
            yield from _twice(inner, f"{path}.{key}".lstrip("."))


def _summary(body: bytes) -> str:
    text = body[:60].decode(errors="replace")
    return f"{text} …" if len(body) > len(text) else text or "<empty>"


def field_validation(call: Call) -> str:
    """Ignore, Warn or Strict. Raises ApiError 422."""
    value = call.query.get("fieldValidation") or "Warn"
    if value not in _FIELD_VALIDATION:
        raise options_error(call.info.verb, [not_supported("fieldValidation", value, _FIELD_VALIDATION)])
    return value


async def sent(call: Call, resource: Resource, body: bytes) -> Object:
    """The object of a body, private and checked against the schema of its kind. Raises ApiError."""
    if not body:
        raise bad_request(f"the body of the request is empty: it must be a {resource.kind}")
    kind = media_type(call.http)
    if kind == PROTOBUF and schemas.definition_name(resource.api_version, resource.kind) is None:
        raise _unknown_format(JSON, YAML)  # of custom resources no messages are known
    document, duplicates = await parse(body, kind)
    return typed(call, resource, document, duplicates)


def typed(call: Call, resource: Resource, document: Any, duplicates: list[str]) -> Object:
    """A private object of a resource's kind, its fields checked against the schema. Raises ApiError 400 or 422."""
    if not isinstance(document, dict):
        raise bad_request(f"the object provided is unrecognized: it must be a {resource.kind}, as a JSON object")
    obj: Object = document
    kind = obj.setdefault("kind", resource.kind)
    version = obj.setdefault("apiVersion", resource.api_version)
    if version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    if kind != resource.kind:
        raise bad_request(f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}')
    problems = [f'duplicate field "{path}"' for path in duplicates]
    if call.strategy.coerce is not None and resource is call.resource:
        unknown, wrong = call.strategy.coerce(obj)
        problems += [f'unknown field "{path}"' for path in unknown]
        refuse(resource, obj, wrong)
    elif not schemas.is_strictly_valid(resource, obj):
        problems += [f'unknown field "{path}"' for path in schemas.unknown_fields(resource, obj)]
        obj = schemas.prune(resource, obj)
        refuse_wrong_types(resource, obj)
    call.warnings = _warnings(call, resource, problems) if problems else []
    return obj


def _warnings(call: Call, resource: Resource, problems: list[str]) -> list[str]:
    """What the client is told of fields that are unknown or stand twice. Raises ApiError if it asked for that."""
    directive = field_validation(call)
    if directive != "Strict":
        return problems if directive == "Warn" else []
    told = f"strict decoding error: {', '.join(problems)}"
    if call.info.verb == "patch":
        raise invalid("", "", "", [invalid_value("patch", call.name, told)])
    raise bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {told}'
    )


def duplicates_told(call: Call, duplicates: list[str]) -> list[str]:
    """What the client is told of keys that stand twice in a configuration. Raises ApiError if it asked for that."""
    problems = [f'duplicate field "{path}"' for path in duplicates]
    directive = field_validation(call)
    if problems and directive == "Strict":
        raise bad_request(f"error strict decoding YAML: {', '.join(problems)}")
    return problems if directive == "Warn" else []


def refuse_wrong_types(resource: Resource, document: Object) -> None:
    """Raises ApiError: 400 for a value of the wrong type, 422 for one that is missing or not allowed."""
    refuse(resource, document, schemas.validate(resource, document))


def refuse(resource: Resource, document: Object, causes: list[FieldError]) -> None:
    """Raises ApiError 400 or 422 if there are causes."""
    if not causes:
        return
    wrong = [cause for cause in causes if cause.type == "FieldValueTypeInvalid"]
    if not wrong:
        name = get_path(document, "metadata", "name", default="")
        raise invalid(resource.group, resource.kind, name, causes)
    texts, listed = limited(wrong)
    told = ", ".join(texts)
    error = bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {told}'
    )
    raise ApiError(error.code, error.reason, error.message, {"causes": listed})
