"""Asks a server by gRPC whether it is healthy: one call of `grpc.health.v1.Health/Check`, over HTTP/2 without TLS.

What such a call needs of HTTP/2 is little: one stream, a few headers, messages of some bytes. So it stands here,
rather than to have every node agent carry a gRPC library for it.

Sources: https://github.com/grpc/grpc/blob/master/doc/health-checking.md, https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
and RFC 9113.
"""

from __future__ import annotations

import asyncio
import struct
from asyncio import StreamReader, StreamWriter
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import unquote

from kubelet.containers.handlers import dial_failure, joined
from kubelet.probes import hpack

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _CONTINUATION = 0, 1, 3, 4, 6, 7, 9
_ACK, _END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
# No table of headers is kept, and nothing may be pushed.
_OWN_SETTINGS = struct.pack(">HIHI", 1, 0, 2, 0)
_STREAM = 1
_FRAME_BYTES_MAX = 16384
_FRAMES_MAX = 1000
_ANSWER_BYTES_MAX = 65536

_UNIMPLEMENTED, _DEADLINE_EXCEEDED = 12, 4
_CODES = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
]
# What an answer without a gRPC status means, by its HTTP status.
_BY_HTTP_STATUS = {"400": 13, "401": 16, "403": 7, "404": 12, "429": 14, "502": 14, "503": 14, "504": 14}
_SERVING = "SERVING"
_HEALTH = {0: "UNKNOWN", 1: _SERVING, 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


class Unhealthy(Exception):
    """The server is not healthy, or can't be asked; the message says why in the words of Kubernetes' probe."""


class _ProtocolError(Exception):
    """The peer does not speak HTTP/2, or not well."""


@dataclass(slots=True)
class _Answer:
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)


async def check(host: str, port: int, service: str, *, timeout_seconds: float, user_agent: str) -> None:
    """Return if the server says that it serves. Raises Unhealthy."""
    address = joined(host, port)
    shown = f"{timeout_seconds:g}s"
    is_connected = False
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(host, port)
            is_connected = True
            with closing(writer):
                writer.write(_request(address, service, timeout_seconds, user_agent))
                answer = await _read_answer(reader, writer)
    except TimeoutError:
        if is_connected:
            raise Unhealthy(f"timeout: health rpc did not complete within {shown}") from None
        raise Unhealthy(
            f'timeout: failed to connect service "{address}" within {shown}: context deadline exceeded'
        ) from None
    except OSError as error:
        reason = dial_failure(host, port, error)
        raise Unhealthy(f'error: failed to connect service at "{address}": {reason}') from error
    except (_ProtocolError, asyncio.IncompleteReadError, hpack.HeaderError) as error:
        raise Unhealthy(f'error: failed to connect service at "{address}": {error}') from error
    _judge(answer)


def _request(authority: str, service: str, timeout_seconds: float, user_agent: str) -> bytes:
    """All that has to be said."""
    headers = hpack.encode(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/grpc.health.v1.Health/Check"),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("user-agent", user_agent),
            ("te", "trailers"),
            ("grpc-timeout", f"{max(1, int(timeout_seconds * 1000))}m"),
        ]
    )
    name = service.encode()
    # HealthCheckRequest: its only field, number 1, is the service's name; left out if empty.
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return (
        _PREFACE
        + _frame(_SETTINGS, 0, 0, _OWN_SETTINGS)
        + _frame(_HEADERS, _END_HEADERS, _STREAM, headers)
        + _frame(_DATA, _END_STREAM, _STREAM, struct.pack(">BI", 0, len(message)) + message)
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


async def _read_answer(reader: StreamReader, writer: StreamWriter) -> _Answer:
    """The answer's headers (the last of a name counts: trailers come last) and its body."""
    answer = _Answer()
    block = bytearray()
    ends = False
    for _ in range(_FRAMES_MAX):
        kind, flags, stream, payload = await _read_frame(reader)
        if kind in (_SETTINGS, _PING) and not flags & _ACK:
            writer.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind == _GOAWAY and int.from_bytes(payload[:4]) & 0x7FFFFFFF < _STREAM:
            raise _ProtocolError("the server goes away")
        elif stream != _STREAM:
            continue
        elif kind == _RST_STREAM:
            raise _ProtocolError(f"the server gave the call up with error {int.from_bytes(payload)}")
        elif kind == _DATA:
            answer.body += _unpadded(payload, flags)
            ends = bool(flags & _END_STREAM)
        elif kind in (_HEADERS, _CONTINUATION):
            block += _unpadded(payload, flags, has_priority=True) if kind == _HEADERS else payload
            ends = ends or (kind == _HEADERS and bool(flags & _END_STREAM))
            if flags & _END_HEADERS:
                answer.headers.update(hpack.decode(bytes(block)))
                block.clear()
        if len(answer.body) + len(block) > _ANSWER_BYTES_MAX:
            raise _ProtocolError(f"the answer has more than {_ANSWER_BYTES_MAX} bytes")
        if ends and not block:
            return answer
    raise _ProtocolError(f"no answer in {_FRAMES_MAX} frames")


async def _read_frame(reader: StreamReader) -> tuple[int, int, int, bytes]:
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3])
    if length > _FRAME_BYTES_MAX:
        # Most often that is the beginning of an answer in HTTP/1.1.
        raise _ProtocolError("the server does not speak HTTP/2")
    kind, flags, stream = struct.unpack(">BBI", head[3:])
    return kind, flags, stream & 0x7FFFFFFF, await reader.readexactly(length)


def _unpadded(payload: bytes, flags: int, *, has_priority: bool = False) -> bytes:
    begin, end = 0, len(payload)
    if flags & _PADDED:
        begin, end = 1, end - payload[0]
    if has_priority and flags & _PRIORITY:
        begin += 5
    return payload[begin:end]


def _judge(answer: _Answer) -> None:
    status = answer.headers.get("grpc-status")
    http_status = answer.headers.get(":status", "")
    text = unquote(answer.headers.get("grpc-message", ""))
    if status is None or not status.isdigit():
        code = _BY_HTTP_STATUS.get(http_status, 2)
        text = f"unexpected HTTP status code received from server: {http_status}"
    else:
        code = int(status)
    if code == _UNIMPLEMENTED:
        protocol = "this server does not implement the grpc health protocol (grpc.health.v1.Health)"
        raise Unhealthy(f"error: {protocol}: {text}")
    if code == _DEADLINE_EXCEEDED:
        raise Unhealthy("timeout: health rpc did not complete in its time")
    if code != 0:
        name = _CODES[code] if code < len(_CODES) else f"Code({code})"
        raise Unhealthy(f"error: health rpc probe failed: rpc error: code = {name} desc = {text}")
    said = _health(bytes(answer.body))
    if said != _SERVING:
        raise Unhealthy(f'service unhealthy (responded with "{said}")')


def _health(body: bytes) -> str:
    """What a HealthCheckResponse says: its only field, number 1, is a number, and 0 if it is left out."""
    if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5]) != len(body) - 5:
        return "an answer that can't be read"
    message = body[5:]
    if not message:
        return _HEALTH[0]
    if message[0] != 0x08 or len(message) != 2:
        return "an answer that can't be read"
    return _HEALTH.get(message[1], str(message[1]))


def _varint(number: int) -> bytes:
    data = bytearray()
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)
