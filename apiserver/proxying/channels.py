"""The protocols in which commands and ports are spoken of over WebSockets: messages that begin with a channel. Pure.

Each message is of one channel, which its first byte names. The fifth version can end a channel of its own; the forms
with `base64` send text. Before the fourth, how a command ended was told in plain words and only if it failed.

Source: k8s.io/apimachinery/pkg/util/remotecommand and k8s.io/apimachinery/pkg/util/httpstream/wsstream.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
# What is spoken with node agents, the better one first.
AGENT_PROTOCOLS = (V5, V4)


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one protocol puts messages."""

    name: str
    base64: bool = False
    # Whether how a command ended is told as a Status, whatever came of it.
    statuses: bool = True

    def encode(self, channel: int, data: bytes) -> bytes | str:
        """A message on a channel."""
        if self.base64:
            return f"{channel}{base64.b64encode(data).decode()}"
        return bytes((channel,)) + data

    def decode(self, message: bytes | str) -> tuple[int, bytes] | None:
        """(channel, data); None for what is no message of this protocol. Clients send text as well as bytes."""
        raw = message.encode() if isinstance(message, str) else message
        if not self.base64:
            return (raw[0], raw[1:]) if raw else None
        if not raw[:1].isdigit():
            return None
        try:
            return int(raw[:1]), base64.b64decode(raw[1:], validate=True)
        except binascii.Error:
            return None


_COMMANDS = (
    Protocol(V5),
    Protocol(V4),
    Protocol("v4.base64.channel.k8s.io", base64=True),
    Protocol("channel.k8s.io", statuses=False),
    Protocol("base64.channel.k8s.io", base64=True, statuses=False),
)
_PORTS = _COMMANDS[:3]
# What is spoken with a client that names no protocol at all.
_UNNAMED_COMMANDS, _UNNAMED_PORTS = Protocol("", statuses=False), Protocol("")


def of_commands(offered: Sequence[str]) -> Protocol | None:
    """The protocol to speak of a command with a client that offers these, in its order."""
    return _choose(_COMMANDS, _UNNAMED_COMMANDS, offered)


def of_ports(offered: Sequence[str]) -> Protocol | None:
    """The protocol to speak of ports with a client that offers these, in its order."""
    return _choose(_PORTS, _UNNAMED_PORTS, offered)


def _choose(known: Sequence[Protocol], unnamed: Protocol, offered: Sequence[str]) -> Protocol | None:
    if not offered:
        return unnamed
    by_name = {protocol.name: protocol for protocol in known}
    return next((by_name[name] for name in offered if name in by_name), None)


def with_agent(protocol: Protocol) -> Sequence[str]:
    """What to speak with an agent for a client of a protocol: nothing that the client could not have asked for."""
    return AGENT_PROTOCOLS if protocol.name == V5 else (V4,)


def words(header: str) -> list[str]:
    """The entries of a header that is a list."""
    return [word for word in (word.strip() for word in header.split(",")) if word]


def outcome_in_words(status: bytes) -> bytes:
    """What a Status says, for protocols that tell failures only; b"" for success."""
    try:
        document = orjson.loads(status)
    except ValueError:
        return status
    if not isinstance(document, dict) or document.get("status") == "Success":
        return b""
    return str(document.get("message") or "the command failed").encode()
