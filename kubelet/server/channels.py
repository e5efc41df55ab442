"""The remote command protocol: several streams in one WebSocket, each message beginning with its channel's number.

Pure. Source: k8s.io/apimachinery/pkg/util/remotecommand (v4 and v5; v5 adds the closing of one channel).
"""

from __future__ import annotations

from typing import Any

import orjson

from apimachinery.errors import internal

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
# Of those that a client offers the first of these is taken.
PROTOCOLS = (V5, V4)
TERMINAL_SIDE_MAX = 0xFFFF


def message(channel: int, data: bytes = b"") -> bytes:
    """A message on a channel."""
    return bytes((channel,)) + data


def outcome(exit_code: int) -> bytes:
    """The Status of a command that has ended, as sent on the error channel."""
    if exit_code == 0:
        return orjson.dumps({"metadata": {}, "status": "Success"})
    return orjson.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: exit status {exit_code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
        }
    )


def failure(why: str) -> bytes:
    """The Status of a command that could not be run."""
    status = internal(f"error executing command in container: {why}").status()
    return orjson.dumps({**status, "metadata": {}})


def terminal_size(data: bytes) -> tuple[int, int] | None:
    """(columns, rows) of a message on the resize channel; None if it makes no sense."""
    try:
        size: Any = orjson.loads(data)
        width, height = int(size["Width"]), int(size["Height"])
    except (ValueError, KeyError, TypeError):
        return None
    return (width, height) if 0 < width <= TERMINAL_SIDE_MAX and 0 < height <= TERMINAL_SIDE_MAX else None


def chosen_protocol(offered: str) -> str | None:
    """The protocol to speak with a client, from its Sec-WebSocket-Protocol header."""
    words = [word.strip() for word in offered.split(",")]
    return next((protocol for protocol in PROTOCOLS if protocol in words), None)
