"""As much of D-Bus as it takes to call a method, hear a signal and be given a file descriptor.

Strings, booleans and numbers are all that is ever said; what else comes in is passed over. All of it blocks, at most
for the time that the socket is given.

Source: https://dbus.freedesktop.org/doc/dbus-specification.html
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SYSTEM_BUS = Path("/run/dbus/system_bus_socket")
BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL = 1, 2, 3, 4
MESSAGE_BYTES_MAX = 1 << 20
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SENDER, _SIGNATURE, _FDS = range(1, 10)
_FIELD_TYPES = {
    **dict.fromkeys((_INTERFACE, _MEMBER, _ERROR_NAME, _DESTINATION, _SENDER), "s"),
    **{_PATH: "o", _SIGNATURE: "g", _REPLY_SERIAL: "u", _FDS: "u"},
}
_FIXED = {"u": ("<I", 4), "b": ("<I", 4), "h": ("<I", 4), "t": ("<Q", 8), "y": ("<B", 1)}


class BusError(OSError):
    """The bus, or who was called, refused."""


@dataclass(slots=True)
class Message:
    """One message; `fields` are those of the header by number, `fds` the descriptors that came with it."""

    type: int
    serial: int
    fields: dict[int, Any]
    body: tuple[Any, ...] = ()
    fds: list[int] = field(default_factory=list)

    @property
    def member(self) -> str:
        """The method or signal."""
        return str(self.fields.get(_MEMBER, ""))


def encode(message: Message, signature: str = "") -> bytes:
    """The bytes of a message whose body has this signature."""
    body = bytearray()
    for kind, value in zip(signature, message.body, strict=True):
        _put(body, kind, value)
    listed = bytearray()
    fields = message.fields | ({_SIGNATURE: signature} if signature else {})
    for number, value in fields.items():
        _pad(listed, 8)
        kind = _FIELD_TYPES[number]
        listed += bytes((number, 1)) + kind.encode() + b"\0"
        _put(listed, kind, value)
    head = bytearray(struct.pack("<cBBBIII", b"l", message.type, 0, 1, len(body), message.serial, len(listed)))
    head += listed
    _pad(head, 8)
    return bytes(head + body)


def decode(data: bytes) -> tuple[Message, int] | None:
    """The first message of these bytes and how many it takes; None if there are too few. Raises BusError."""
    if len(data) < 16:
        return None
    order, kind, _, _, body_size, serial, fields_size = struct.unpack_from("<cBBBIII", data)
    if order != b"l":
        raise BusError("a message in another byte order")
    start = 16 + fields_size
    start += -start % 8
    if start + body_size > MESSAGE_BYTES_MAX:
        raise BusError(f"a message of {start + body_size} bytes")
    if len(data) < start + body_size:
        return None
    fields: dict[int, Any] = {}
    at = 16
    while at < 16 + fields_size:
        at += -at % 8
        number, (name, at) = data[at], _get(data, at + 1, "g")
        fields[number], at = _get(data, at, name)
    body, at = [], 0
    payload = data[start : start + body_size]
    for one in fields.get(_SIGNATURE, ""):
        if one not in (*_FIXED, "s", "o", "g", "v"):
            break  # what is of no interest here
        value, at = _get(payload, at, one)
        body.append(value)
    return Message(kind, serial, fields, tuple(body)), start + body_size


class Connection:
    """A connection to a bus. Raises OSError, of which a BusError is one, TimeoutError too."""

    def __init__(self, path: Path = SYSTEM_BUS, *, seconds: float = 5.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.socket.settimeout(seconds)
        self._data = b""
        self._fds: list[int] = []
        self._serial = 0
        self._waiting: list[Message] = []
        try:
            self.socket.connect(str(path))
            self._authenticate()
            self.name = str(self.call(*BUS, "Hello").body[0])
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        self.socket.close()
        for descriptor in self._fds:
            os.close(descriptor)
        self._fds = []

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *arguments: Any
    ) -> Message:
        """Call a method and wait for what it returns."""
        fields = {_DESTINATION: destination, _PATH: path, _INTERFACE: interface, _MEMBER: member}
        serial = self.send(Message(METHOD_CALL, 0, fields, arguments), signature)
        while True:
            message = self._next()
            if message.fields.get(_REPLY_SERIAL) != serial:
                self._waiting.append(message)
            elif message.type == ERROR:
                name = message.fields.get(_ERROR_NAME, "error")
                raise BusError(f"{interface}.{member}: {name}: {' '.join(map(str, message.body))}")
            else:
                return message

    def send(self, message: Message, signature: str = "", fds: tuple[int, ...] = ()) -> int:
        """Send a message; returns its serial number."""
        self._serial += 1
        message.serial = self._serial
        if fds:
            message.fields[_FDS] = len(fds)
        data = encode(message, signature)
        if fds:
            socket.send_fds(self.socket, [data], fds)
        else:
            self.socket.sendall(data)
        return self._serial

    def receive(self) -> Message:
        """The next message that nobody has waited for."""
        return self._waiting.pop(0) if self._waiting else self._next()

    @property
    def has_more(self) -> bool:
        """Whether a message is here already, for which the socket need not become readable."""
        return bool(self._waiting) or decode(self._data) is not None

    def _authenticate(self) -> None:
        """As the user that this process has, and asking for descriptors to be passed."""
        self.socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
        self._expect(b"OK")
        self.socket.sendall(b"NEGOTIATE_UNIX_FD\r\n")
        self._expect(b"AGREE_UNIX_FD")
        self.socket.sendall(b"BEGIN\r\n")

    def _expect(self, word: bytes) -> None:
        line = b""
        while not line.endswith(b"\r\n"):
            byte = self.socket.recv(1)
            if not byte or len(line) > 1024:
                raise BusError("the bus ended the conversation")
            line += byte
        if not line.startswith(word):
            raise BusError(f"the bus answered {line.decode(errors='replace').strip()!r}")

    def _next(self) -> Message:
        while (found := decode(self._data)) is None:
            data, fds, _, _ = socket.recv_fds(self.socket, 64 * 1024, 16, socket.MSG_CMSG_CLOEXEC)
            if not data:
                raise BusError("the bus ended the connection")
            self._data += data
            self._fds += fds
        message, size = found
        self._data = self._data[size:]
        count = message.fields.get(_FDS, 0)
        message.fds, self._fds = self._fds[:count], self._fds[count:]
        return message


def _pad(data: bytearray, size: int) -> None:
    data += bytes(-len(data) % size)


def _put(data: bytearray, kind: str, value: Any) -> None:
    if kind in _FIXED:
        form, size = _FIXED[kind]
        _pad(data, size)
        data += struct.pack(form, value)
        return
    text = str(value).encode()
    if kind == "g":
        data += bytes((len(text),)) + text + b"\0"
        return
    _pad(data, 4)
    data += struct.pack("<I", len(text)) + text + b"\0"


def _get(data: bytes, at: int, kind: str) -> tuple[Any, int]:
    if kind in _FIXED:
        form, size = _FIXED[kind]
        at += -at % size
        (value,) = struct.unpack_from(form, data, at)
        return (bool(value) if kind == "b" else value), at + size
    if kind == "g":
        size = data[at]
        return data[at + 1 : at + 1 + size].decode(), at + size + 2
    if kind == "v":
        name, at = _get(data, at, "g")
        return _get(data, at, name)
    at += -at % 4
    (size,) = struct.unpack_from("<I", data, at)
    return data[at + 4 : at + 4 + size].decode(errors="replace"), at + size + 5
